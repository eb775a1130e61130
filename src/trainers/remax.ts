/** ReMax (Li et al. 2024): the score of the greedy response is the baseline. docs/remax.md has the formulas. */
import { type GroupMetrics, groupAdvantages } from '../advantages.ts';
import { type RemaxConfig, remaxConfig } from '../config/remax.ts';
import { parseKnown } from '../config/schema.ts';
import type { PolicyMetrics } from '../losses/policy.ts';
import {
  type AdvantageBatch,
  byAdvantage,
  comparisonOf,
  type CriticFreeMethod,
  type CriticFreeStep,
  type PolicyParts,
  trainWithoutCritic,
} from './critic-free.ts';

/** The parts of a ReMax run. */
export type RemaxParts = PolicyParts;
/** The metrics of an iteration. */
export type RemaxStep = CriticFreeStep<GroupMetrics, keyof PolicyMetrics>;

const method: CriticFreeMethod<RemaxConfig, AdvantageBatch, GroupMetrics, keyof PolicyMetrics> = {
  ...byAdvantage,
  greedy: true,

  async compare(_parts, { sampling, klWeight }, { rollout, normalised, greedy }) {
    const { samplesPerPrompt } = sampling;
    const options = { samplesPerPrompt, klWeight, estimator: 'baseline', scale: 'none', baseline: greedy } as const;
    const compared = await groupAdvantages(rollout, normalised, options);
    return await comparisonOf(rollout, compared);
  },
};

/**
 * Trains `policy`, one iteration per step: answer prompts by sampling and once greedily, score the answers, learn from how much
 * better the samples are; see `trainWithoutCritic`.
 */
export async function* remax(parts: RemaxParts, options: RemaxConfig, start = 0): AsyncGenerator<RemaxStep> {
  yield* trainWithoutCritic('remax', method, parts, parseKnown(remaxConfig, options, 'remax'), start);
}
