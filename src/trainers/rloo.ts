/**
 * REINFORCE with the other responses to the same prompt as a baseline (RLOO, Ahmadian et al. 2024). docs/rloo.md has the formulas.
 */
import { type GroupMetrics, groupAdvantages } from '../advantages.ts';
import { type RlooConfig, rlooConfig } from '../config/rloo.ts';
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

/** The parts of an RLOO run. */
export type RlooParts = PolicyParts;
/** The metrics of an iteration. */
export type RlooStep = CriticFreeStep<GroupMetrics, keyof PolicyMetrics>;

const method: CriticFreeMethod<RlooConfig, AdvantageBatch, GroupMetrics, keyof PolicyMetrics> = {
  ...byAdvantage,

  async compare(_parts, { sampling, klWeight, normalise }, { rollout, normalised }) {
    const { samplesPerPrompt } = sampling;
    const scale = normalise ? 'batch' : 'none';
    const compared = await groupAdvantages(rollout, normalised, {
      samplesPerPrompt,
      klWeight,
      estimator: 'rloo',
      scale,
    });
    return await comparisonOf(rollout, compared);
  },

  countOf: (lengths, { loss }) => (loss.level === 'token' ? byAdvantage.countOf(lengths) : lengths.length),
};

/**
 * Trains `policy`, one iteration per step: answer prompts, several times each, score the answers, compare each with the others,
 * learn from the comparison; see `trainWithoutCritic`.
 */
export async function* rloo(parts: RlooParts, options: RlooConfig, start = 0): AsyncGenerator<RlooStep> {
  yield* trainWithoutCritic('rloo', method, parts, parseKnown(rlooConfig, options, 'rloo'), start);
}
