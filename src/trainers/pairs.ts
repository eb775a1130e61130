/** Shared by trainers that learn from pairs of responses, one of them preferred. */
import type { RewardConfig } from '../config/reward.ts';
import { checkKind, checkKinds, COUNT, instanceOf, optional, POSITIVE } from '../checks/kinds.ts';
import type { Batches } from '../data/batches.ts';
import type { Preference } from '../data/preferences.ts';
import { ArgumentError } from '../errors.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { Optimizer } from '../optim.ts';
import { checkTokens } from './check-tokens.ts';
import { BATCHES, PAIRS } from './parts.ts';
import type { LossStep } from './step.ts';

/** The parts that all such trainers have, apart from the model. */
export interface PairParts {
  /** The optimizer of the model's parameters. */
  optimizer: Optimizer;
  /** The training pairs. */
  pairs: readonly Preference[];
  /** Selects the next of `pairs`, `config.batchSize` at a time. */
  batches: Batches;
  /** Held-out pairs; without them there are no validation metrics. */
  validation?: readonly Preference[] | undefined;
}

/** The kinds of `PairParts`, for `checkKinds`. */
export const PAIR_PARTS = {
  optimizer: instanceOf(Optimizer),
  pairs: PAIRS,
  batches: BATCHES,
  validation: optional(PAIRS),
};

/** The metrics of a step that all such trainers have. */
export interface PairStep extends LossStep {
  /** Accuracy on all held-out rows, when there is a `validationLoss`. */
  validationAccuracy: number | undefined;
}

/** The number of optimizer steps that `epochs` passes over so many rows take; `argument` names the rows. */
export function pairSteps(
  rows: number,
  options: Pick<RewardConfig, 'epochs' | 'batchSize' | 'accumulate'>,
  argument = 'pairs',
): number {
  checkKind(argument, rows, COUNT);
  checkKinds('options', options, { epochs: POSITIVE, batchSize: COUNT, accumulate: COUNT });
  const { epochs, batchSize, accumulate } = options;
  return Math.ceil((epochs * rows) / (batchSize * accumulate));
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
