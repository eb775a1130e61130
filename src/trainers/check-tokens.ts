/** Validates token ids before training, while the offending row can still be named. */
import { ArgumentError, printable } from '../errors.ts';

/** @throws ArgumentError for the first of `tokens` outside a vocabulary of `numTokens`; `place` names its position. */
export function checkTokens(tokens: readonly number[], numTokens: number, place: (t: number) => string): void {
  const t = tokens.findIndex((token) => !(Number.isInteger(token) && token >= 0 && token < numTokens));
  if (t < 0) return;
  throw new ArgumentError({
    argument: place(t),
    received: printable(tokens[t]),
    expected: `an integer from 0 to ${numTokens - 1}, one of the model's ${numTokens} tokens`,
    fix: 'Use the tokenizer that the model was trained with.',
  });
}

/** The same for optional special tokens, which errors name by their key. */
export function checkSpecialTokens(tokens: Readonly<Record<string, number | undefined>>, numTokens: number): void {
  for (const [name, token] of Object.entries(tokens)) {
    if (token !== undefined) checkTokens([token], numTokens, () => name);
  }
}
