/** Length limits of rows, in tokens. */
import { ArgumentError, printable } from '../errors.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** Length limits of a row, in tokens. */
export interface LengthLimits {
  /** Maximum length of prompt plus response, including the eos. */
  maxLength: number;
  /** Maximum length of the prompt, which is truncated on the left. Defaults to what the responses leave room for. */
  maxPromptLength?: number | undefined;
}

/** @throws ArgumentError unless `value` is an integer of at least `min`. */
export function checkLimit(argument: string, value: number, min: number): void {
  if (Number.isInteger(value) && value >= min) return;
  throw new ArgumentError({ argument, received: printable(value), expected: `an integer of at least ${min}` });
}

/** @throws ArgumentError for limits that leave no room for a prompt and a response. */
export function checkLimits({ maxLength, maxPromptLength }: LengthLimits): void {
  checkLimit('maxLength', maxLength, 2);
  if (maxPromptLength !== undefined) checkLimit('maxPromptLength', maxPromptLength, 1);
}

/** The special tokens that a sequence begins with, such as the bos of most models. */
export function beginOf(tokenizer: Pick<Tokenizer, 'encode'>): number[] {
  return tokenizer.encode('', { special: 'begin' });
}

/** The last `most` of `tokens`, at most; a sequence that starts with `begin` still does. */
export function lastTokens(tokens: readonly number[], most: number, begin: readonly number[]): number[] {
  const keeps = begin.length < most && begin.every((token, i) => token === tokens[i]);
  if (tokens.length <= most || !keeps) return tokens.slice(-most);
  return [...begin, ...tokens.slice(begin.length - most)];
}

/**
 * The end of `prompt` that is kept, after its `begin`: what a response of `longest` tokens leaves of `maxLength`, but at least a
 * third of it, and at most `maxPromptLength`.
 */
export function keptPrompt(
  prompt: readonly number[],
  longest: number,
  { maxLength, maxPromptLength = maxLength }: LengthLimits,
  begin: readonly number[],
): number[] {
  const room = Math.max(1, Math.floor(maxLength / 3), maxLength - longest);
  return lastTokens(prompt, Math.min(room, maxPromptLength), begin);
}

/** `response` with its `end`, or its first `max` tokens without it. */
export function fittedResponse(response: readonly number[], end: readonly number[], max: number): number[] {
  return response.length + end.length <= max ? [...response, ...end] : response.slice(0, max);
}
