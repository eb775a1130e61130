import { ArgumentError, printable } from '../errors.ts';
import { checkKind, ITERABLE, TOKENIZER } from '../checks/kinds.ts';

/** What a model file notes of its tokenizer, so that it can be found again, and known when it is found. */
export type TokenizerDescription = { type: 'byte' } | { type: 'hugging-face'; path: string; hash: string };

/** How a text is encoded. */
export interface EncodeOptions {
  /**
   * Whether the text goes on with an earlier one, as a response with its prompt: then it gets no space in front, which many
   * tokenizers put before a text, and the tokens of both one after the other decode to both texts.
   */
  continues?: boolean;
}

/** Text to tokens and back. `decode` leaves out special tokens and writes U+FFFD where bytes are no UTF-8. */
export interface Tokenizer {
  /** One more than the largest token. */
  readonly vocabSize: number;
  /** The token that ends a response, where there is one. */
  readonly eosToken: number | undefined;
  /** The token that fills rows up, where there is one. */
  readonly padToken: number | undefined;
  /** What it is by content, wherever its file lies: tokenizers of one hash give the same tokens and name the same eos and padding. */
  readonly hash: string;
  /** The tokens of `text`, with no special ones added before or after. */
  encode(text: string, options?: EncodeOptions): number[];
  /** @throws ArgumentError for a token that is not in the vocabulary. */
  decode(tokens: Iterable<number>): string;
  describe(): TokenizerDescription;
}

/** `tokenizer` for a model of `numTokens` tokens: without the eos and the padding that the model does not have. */
export function forModel(tokenizer: Tokenizer, numTokens: number): Tokenizer {
  const within = (token: number | undefined) => (token !== undefined && token < numTokens ? token : undefined);
  const { vocabSize, hash, eosToken, padToken } = tokenizer;
  return {
    vocabSize,
    hash,
    eosToken: within(eosToken),
    padToken: within(padToken),
    encode: (text, options) => tokenizer.encode(text, options),
    decode: (tokens) => tokenizer.decode(tokens),
    describe: () => tokenizer.describe(),
  };
}

/** The tokens as an array. @throws ArgumentError unless every one is an integer from 0 to vocabSize - 1. */
export function checkTokens(tokens: Iterable<number>, vocabSize: number): number[] {
  checkKind('tokens', tokens, ITERABLE);
  const array = [...tokens];
  const wrong = array.findIndex((token) => !(Number.isInteger(token) && token >= 0 && token < vocabSize));
  if (wrong < 0) return array;
  throw new ArgumentError({
    argument: `tokens[${wrong}]`,
    received: printable(array[wrong]),
    expected: `an integer from 0 to ${vocabSize - 1}, as this tokenizer has ${vocabSize} tokens`,
    fix: 'Use the tokenizer that the model was trained with.',
  });
}

/** Decodes tokens as they come. All that `push` gives, then what `end` gives, is the text of all tokens. */
export interface DecodeStream {
  /** The text that is certain now; empty while a character still lacks bytes. */
  push(token: number): string;
  /** The rest, with U+FFFD for a character that was never completed. */
  end(): string;
}

/** A decoder for a single stream of tokens, whatever bytes each of them has. */
export function decodeStream(tokenizer: Tokenizer): DecodeStream {
  checkKind('tokenizer', tokenizer, TOKENIZER);
  // Some tokenizers write a word otherwise at the beginning of a text: the tokens printed last are decoded along.
  let context: number[] = [];
  let pending: number[] = [];
  let printed = 0;

  function advance(wholeText: (text: string) => string): string {
    const text = tokenizer.decode([...context, ...pending]);
    const safe = wholeText(text);
    const fresh = safe.slice(printed);
    printed = Math.max(printed, safe.length);
    if (safe.length === text.length && text.length > tokenizer.decode(context).length) {
      context = pending;
      pending = [];
      printed = tokenizer.decode(context).length;
    }
    return fresh;
  }

  return {
    push(token) {
      pending.push(token);
      return advance(completeText);
    },
    end: () => advance((text) => text),
  };
}

/** Without the replacement characters at its end: a character of up to four bytes that lacks one shows as at most three. */
function completeText(text: string): string {
  return text.replace(/\ufffd{1,3}$/, '');
}
