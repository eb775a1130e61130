/** Length limits of rows, in tokens. */
import { ArgumentError, printable } from '../errors.ts';

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

/**
 * The end of `prompt` that is kept: what a response of `longest` tokens leaves of `maxLength`, but at least a third of it,
 * and at most `maxPromptLength`.
 */
export function keptPrompt(
  prompt: readonly number[],
  longest: number,
  { maxLength, maxPromptLength = maxLength }: LengthLimits,
): number[] {
  const room = Math.max(1, Math.floor(maxLength / 3), maxLength - longest);
  return prompt.slice(-Math.min(room, maxPromptLength));
}

/** `response` with its `end`, or its first `max` tokens without it. */
export function fittedResponse(response: readonly number[], end: readonly number[], max: number): number[] {
  return response.length + end.length <= max ? [...response, ...end] : response.slice(0, max);
}
