import { bytesOf, fallbackByte, textOf } from './bytes.ts';
import { patternOf } from './patterns.ts';
import { replaceMatches } from './pieces.ts';
import { checkByteLevel, readMetaspace } from './pre-tokenizers.ts';
import type { Step } from './step.ts';

/** Turns the names of tokens into text. The results of the last decoder are joined. */
export type Decoder = (tokens: string[]) => string[];

/** Creates the decoder that a step describes. @throws Error if it is not supported. */
export function createDecoder(step: Step): Decoder {
  switch (step.type) {
    case 'Sequence':
      return inSequence(step.steps('decoders').map(createDecoder));
    case 'BPEDecoder':
      return endOfWord(step.nonEmpty('suffix'));
    case 'ByteFallback':
      return byteFallback;
    case 'ByteLevel':
      checkByteLevel(step);
      return (tokens) => [textOf(tokens.flatMap((token) => [...bytesOf(token)]))];
    case 'CTC':
      return ctc(step);
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'Metaspace':
      return metaspace(step);
    case 'Replace':
      return replace(patternOf(step), step.string('content'));
    case 'Strip':
      return strip(step.character('content'), step.count('start'), step.count('stop'));
    case 'WordPiece':
      return wordPiece(step);
    default:
      throw step.unknown('decoder');
  }
}

function inSequence(decoders: Decoder[]): Decoder {
  return (tokens) => decoders.reduce((texts, next) => next(texts), tokens);
}

function endOfWord(suffix: string): Decoder {
  return (tokens) => tokens.map((token, i) => token.replaceAll(suffix, i === tokens.length - 1 ? '' : ' '));
}

function replace(pattern: RegExp, content: string): Decoder {
  return (tokens) => tokens.map((token) => replaceMatches(token, pattern, content));
}

/** Replaces runs of tokens such as `<0x0A>` by the text of their bytes. */
function byteFallback(tokens: string[]): string[] {
  const texts: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length > 0) texts.push(textOf(bytes));
    bytes = [];
  };
  for (const token of tokens) {
    const byte = fallbackByte(token);
    if (byte !== undefined) bytes.push(byte);
    else {
      flush();
      texts.push(token);
    }
  }
  flush();
  return texts;
}

/** Removes the space that was added before a text: all spaces of the first token, as the Rust library does. */
function metaspace(step: Step): Decoder {
  const { letter, scheme } = readMetaspace(step);
  const first = scheme === 'never' ? ' ' : '';
  return (tokens) => tokens.map((token, i) => token.replaceAll(letter, i === 0 ? first : ' '));
}

/** Removes up to `start` occurrences of `content` from the start of every token, and up to `stop` from its end. */
function strip(content: string, start: number, stop: number): Decoder {
  return (tokens) =>
    tokens.map((token) => {
      const characters = Array.from(token);
      let begin = 0;
      while (begin < Math.min(start, characters.length) && characters[begin] === content) begin++;
      let end = characters.length;
      while (end > Math.max(begin, characters.length - stop) && characters[end - 1] === content) end--;
      return characters.slice(begin, end).join('');
    });
}

function wordPiece(step: Step): Decoder {
  const prefix = step.string('prefix');
  const cleanUp = step.flag('cleanup') ? joinPunctuation : (text: string) => text;
  const inside = (token: string) => (token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`);
  return (tokens) => tokens.map((token, i) => cleanUp(i === 0 ? token : inside(token)));
}

/** Connectionist temporal classification: repeated tokens and padding are dropped. */
function ctc(step: Step): Decoder {
  const padding = step.nonEmpty('pad_token');
  const delimiter = step.nonEmpty('word_delimiter_token');
  const cleanUp = step.flag('cleanup');
  return (tokens) =>
    tokens
      .filter((token, i) => token !== tokens[i - 1])
      .map((token) => token.replaceAll(padding, ''))
      .map((token) => (cleanUp ? joinPunctuation(token).replaceAll(delimiter, ' ') : token))
      .filter((token) => token !== '');
}

const JOINED = [' .', ' ?', ' !', ' ,', " ' ", " n't", " 'm", ' do not', " 's", " 've", " 're"];

/** Removes the spaces before punctuation and contractions. */
function joinPunctuation(text: string): string {
  const joined = (part: string) => (part === ' do not' ? " don't" : part.trim());
  return JOINED.reduce((result, part) => result.replaceAll(part, joined(part)), text);
}
