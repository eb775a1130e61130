import { toByteLetters } from './bytes.ts';
import { patternOf } from './patterns.ts';
import { BEHAVIORS, type Behavior, cut, type Piece, split, withPrefix } from './pieces.ts';
import type { Step } from './step.ts';
import { PUNCTUATION, SPACE } from './unicode.ts';

/** Splits a text into the pieces that the model encodes one by one. */
export type PreTokenizer = (piece: Piece) => Piece[];

const NUMERIC = /\p{N}/gu;
const WORD = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';
const WORD_OR_SIGNS = new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, 'gu');
const BYTE_LEVEL =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Creates the pre-tokenizer that a step describes. @throws Error if it is not supported. */
export function createPreTokenizer(step: Step): PreTokenizer {
  switch (step.type) {
    case 'Sequence':
      return inSequence(step.steps('pretokenizers').map(createPreTokenizer));
    case 'BertPreTokenizer':
      return inSequence([splitting(SPACE, 'Removed'), splitting(PUNCTUATION, 'Isolated')]);
    case 'ByteLevel':
      return byteLevel(step);
    case 'CharDelimiterSplit':
      return removeCharacter(step.character('delimiter'));
    case 'Digits':
      return splitting(NUMERIC, step.flag('individual_digits') ? 'Isolated' : 'Contiguous');
    case 'FixedLength':
      return fixedLength(step.count('length'));
    case 'Metaspace':
      return metaspace(step);
    case 'Punctuation':
      return splitting(PUNCTUATION, step.choice('behavior', BEHAVIORS, 'Isolated'));
    case 'Split':
      return splitting(patternOf(step), step.choice('behavior', BEHAVIORS), step.flag('invert'));
    case 'Whitespace':
      return splitting(WORD_OR_SIGNS, 'Removed', true);
    case 'WhitespaceSplit':
      return splitting(SPACE, 'Removed');
    default:
      throw step.unknown('pre_tokenizer');
  }
}

function inSequence(all: PreTokenizer[]): PreTokenizer {
  return (piece) => all.reduce((pieces, next) => pieces.flatMap(next), [piece]);
}

function splitting(pattern: RegExp, behavior: Behavior, invert = false): PreTokenizer {
  return (piece) => split(piece, pattern, behavior, invert);
}

function removeCharacter(delimiter: string): PreTokenizer {
  return splitting(new RegExp(`[\\u{${delimiter.codePointAt(0)?.toString(16)}}]`, 'gu'), 'Removed');
}

function fixedLength(length: number): PreTokenizer {
  return splitting(new RegExp(`[^]{1,${length}}`, 'gu'), 'Isolated');
}

/** Checks options of ByteLevel that only affect offsets but must be present. */
export function checkByteLevel(step: Step): void {
  step.flag('add_prefix_space');
  step.flag('trim_offsets');
}

function byteLevel(step: Step): PreTokenizer {
  checkByteLevel(step);
  const prefix = step.flag('add_prefix_space');
  const cutting = step.flag('use_regex', true);
  return (piece) => {
    const whole = prefix ? withPrefix(piece, ' ') : piece;
    const pieces = cutting ? split(whole, BYTE_LEVEL, 'Isolated') : [whole];
    return pieces.map(({ text, start }) => ({ text: toByteLetters(text), start }));
  };
}

const SCHEMES = ['always', 'first', 'never'] as const;

/** Reads how a Metaspace pre-tokenizer or decoder writes spaces. */
export function readMetaspace(step: Step): { letter: string; scheme: (typeof SCHEMES)[number] } {
  const letter = step.character('replacement');
  const without = step.has('add_prefix_space') && !step.flag('add_prefix_space');
  const scheme = step.choice('prepend_scheme', SCHEMES, without ? 'never' : 'always');
  if (without && scheme !== 'never') step.refuse('add_prefix_space', `prepend_scheme is ${scheme}`);
  return { letter, scheme };
}

function metaspace(step: Step): PreTokenizer {
  const { letter, scheme } = readMetaspace(step);
  const cutting = step.flag('split', true);
  return (piece) => {
    const spaced = { ...piece, text: piece.text.replaceAll(' ', () => letter) };
    const prefixed = scheme === 'always' || (scheme === 'first' && piece.start === 'text');
    const whole = prefixed ? withPrefix(spaced, letter) : spaced;
    return cutting ? cutBefore(whole, letter) : [whole];
  };
}

function cutBefore(piece: Piece, letter: string): Piece[] {
  const pieces: Piece[] = [];
  for (let begin = 0; begin < piece.text.length; ) {
    const next = piece.text.indexOf(letter, begin + letter.length);
    const end = next < 0 ? piece.text.length : next;
    pieces.push(cut(piece, begin, end));
    begin = end;
  }
  return pieces;
}
