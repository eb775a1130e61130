/** Checks of training data before the first step, where the row is still known. */
import { ArgumentError, printable } from '../errors.ts';

/** @throws ArgumentError for the first of `tokens` that a model of `numTokens` tokens does not have; `place` names it. */
export function checkTokens(tokens: readonly number[], numTokens: number, place: (t: number) => string): void {
  const t = tokens.findIndex((token) => !(Number.isInteger(token) && token >= 0 && token < numTokens));
  if (t < 0) return;
  throw new ArgumentError({
    argument: place(t),
    received: printable(tokens[t]),
    expected: `an integer from 0 to ${numTokens - 1}, one of the model's ${numTokens} tokens`,
    fix: 'Encode with the tokenizer that the model was made for.',
  });
}

/** The same of the tokens that have a name of their own, where they are given. */
export function checkSpecialTokens(tokens: Readonly<Record<string, number | undefined>>, numTokens: number): void {
  for (const [name, token] of Object.entries(tokens)) {
    if (token !== undefined) checkTokens([token], numTokens, () => name);
  }
}
