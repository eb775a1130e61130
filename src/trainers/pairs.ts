/** Shared by trainers that learn from pairs of responses, one of them preferred. */
import type { RewardConfig } from '../config/reward.ts';
import { checkKind, checkKinds, COUNT, POSITIVE } from '../checks/kinds.ts';
import type { Preference } from '../data/preferences.ts';
import { ArgumentError } from '../errors.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { checkTokens } from './check-tokens.ts';

/** The number of optimizer steps that `epochs` passes over `pairs` pairs take. */
export function pairSteps(pairs: number, options: Pick<RewardConfig, 'epochs' | 'batchSize' | 'accumulate'>): number {
  checkKind('pairs', pairs, COUNT);
  checkKinds('options', options, { epochs: POSITIVE, batchSize: COUNT, accumulate: COUNT });
  const { epochs, batchSize, accumulate } = options;
  return Math.ceil((epochs * pairs) / (batchSize * accumulate));
}

/** @throws ArgumentError for the first pair with a token that `model` does not have, or with nothing to compare. */
export function checkPairs(pairs: readonly Preference[], model: LanguageModel, argument: string): void {
  for (const [row, pair] of pairs.entries()) {
    for (const part of ['prompt', 'chosen', 'rejected'] as const) {
      checkTokens(pair[part], model.decoder.numTokens, (t) => `${argument}[${row}].${part}[${t}]`);
    }
    if (pair.prompt.length + Math.min(pair.chosen.length, pair.rejected.length) > 0) continue;
    const expected = 'a token in the prompt, or in both responses';
    throw new ArgumentError({ argument: `${argument}[${row}]`, received: 'no tokens to compare', expected });
  }
}

/** Number of tokens in both responses, each with the prompt. */
export function tokensOf({ prompt, chosen, rejected }: Preference): number {
  return 2 * prompt.length + chosen.length + rejected.length;
}
