import { ArgumentError, printable } from '../errors.ts';
import { checkKind, ITERABLE, DECODER } from '../checks/kinds.ts';

/** What a model file records about its tokenizer, to find it again and recognise it. */
export type TokenizerDescription = { type: 'byte' } | { type: 'hugging-face'; path: string; hash: string };

/** Options for encoding a text. */
export interface EncodeOptions {
  /**
   * Whether the text continues an earlier one, as a response continues its prompt. If so, it gets no space in front,
   * which many tokenizers insert, and decoding the concatenated tokens gives the concatenated texts.
   */
  continues?: boolean;
  /**
   * Special tokens to add: those that a sequence begins with, such as the bos of most models, or `both` those and the ones
   * that end it, as transformers does unless told otherwise. A text that begins with them as text gets no second ones.
   */
  special?: 'begin' | 'both';
}

/** Converts text to tokens and back. `decode` omits special tokens and writes U+FFFD for invalid UTF-8. */
export interface Tokenizer {
  /** The largest token id plus one. */
  readonly vocabSize: number;
  /** The token that ends a response, if there is one. */
  readonly eosToken: number | undefined;
  /** All tokens that end a response, if a model has others beside `eosToken`. */
  readonly stopTokens?: readonly number[] | undefined;
  /** The padding token, if there is one. */
  readonly padToken: number | undefined;
  /**
   * A hash of the content, independent of the path: tokenizers with equal hashes produce the same tokens, with the same
   * eos and padding.
   */
  readonly hash: string;
  /** Encodes `text`. */
  encode(text: string, options?: EncodeOptions): number[];
  /** @throws ArgumentError for a token that is not in the vocabulary. */
  decode(tokens: Iterable<number>): string;
  describe(): TokenizerDescription;
}

/** All tokens that end a response; undefined if there are none. */
export function endTokens({
  eosToken,
  stopTokens,
}: Pick<Tokenizer, 'stopTokens'> & Partial<Pick<Tokenizer, 'eosToken'>>) {
  const all = stopTokens ?? (eosToken === undefined ? [] : [eosToken]);
  return all.length === 0 ? undefined : [...all];
}

/**
 * Adapts `tokenizer` to a model with `numTokens` tokens: drops an eos or padding token that the model does not have, and
 * decodes tokens that only the model has, which pad its vocabulary, to nothing.
 */
export function forModel(tokenizer: Tokenizer, numTokens: number): Tokenizer {
  const within = (token: number | undefined) => (token !== undefined && token < numTokens ? token : undefined);
  const { vocabSize, hash, eosToken, padToken } = tokenizer;
  const rows = Math.max(vocabSize, numTokens);
  return {
    vocabSize,
    hash,
    eosToken: within(eosToken),
    padToken: within(padToken),
    encode: (text, options) => tokenizer.encode(text, options),
    decode: (tokens) => tokenizer.decode(checkTokens(tokens, rows).filter((token) => token < vocabSize)),
    describe: () => tokenizer.describe(),
  };
}

/** Returns the tokens as an array. @throws ArgumentError unless each is an integer from 0 to vocabSize - 1. */
export function checkTokens(tokens: Iterable<number>, vocabSize: number): number[] {
  checkKind('tokens', tokens, ITERABLE);
  const array = [...tokens];
  const wrong = array.findIndex((token) => !(Number.isInteger(token) && token >= 0 && token < vocabSize));
  if (wrong < 0) return array;
  throw new ArgumentError({
    argument: `tokens[${wrong}]`,
    received: printable(array[wrong]),
    expected: `an integer from 0 to ${vocabSize - 1} (this tokenizer has ${vocabSize} tokens)`,
    fix: 'Use the tokenizer that the model was trained with.',
  });
}

/** Decodes tokens as they arrive. The concatenated results of `push` and `end` are the text of all tokens. */
export interface DecodeStream {
  /** Returns the text that is certain so far; empty while a character lacks bytes. */
  push(token: number): string;
  /** Returns the rest, with U+FFFD for an incomplete character. */
  end(): string;
}

/** Creates a decoder for one stream of tokens, which may split characters at any byte. */
export function decodeStream(tokenizer: Pick<Tokenizer, 'decode'>): DecodeStream {
  checkKind('tokenizer', tokenizer, DECODER);
  // Some tokenizers decode a word differently at the start of a text, so the tokens printed last are decoded again as
  // context.
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

/**
 * Removes trailing replacement characters: an incomplete character of up to four bytes shows as at most three of them.
 */
function completeText(text: string): string {
  return text.replace(/\ufffd{1,3}$/, '');
}
