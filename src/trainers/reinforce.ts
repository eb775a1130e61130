/** REINFORCE++ (Hu 2025): whitened returns in place of a critic. docs/reinforce.md has the formulas. */
import { type ReturnMetrics, returnAdvantages } from '../advantages.ts';
import { type ReinforceConfig, reinforceConfig } from '../config/reinforce.ts';
import { parseKnown } from '../config/schema.ts';
import { ConfigError } from '../errors.ts';
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

/** The parts of a REINFORCE++ run. */
export type ReinforceParts = PolicyParts;
/** The metrics of an iteration. */
export type ReinforceStep = CriticFreeStep<ReturnMetrics, keyof PolicyMetrics>;

const method: CriticFreeMethod<ReinforceConfig, AdvantageBatch, ReturnMetrics, keyof PolicyMetrics> = {
  ...byAdvantage,

  async compare(_parts, { sampling, klWeight, gamma, baseline }, { rollout, normalised }) {
    const { samplesPerPrompt } = sampling;
    const options = { samplesPerPrompt, klWeight, gamma, groupBaseline: baseline === 'group' };
    const compared = await returnAdvantages(rollout, normalised, options);
    return await comparisonOf(rollout, compared);
  },
};

/**
 * Trains `policy`, one iteration per step: answer prompts, score the answers, whiten the returns, learn from them; see
 * `trainWithoutCritic`.
 * @throws ConfigError for a group baseline with one response per prompt.
 */
export async function* reinforce(
  parts: ReinforceParts,
  options: ReinforceConfig,
  start = 0,
): AsyncGenerator<ReinforceStep> {
  const config = parseKnown(reinforceConfig, options, 'reinforce');
  if (config.baseline === 'group' && config.sampling.samplesPerPrompt < 2)
    throw new ConfigError({
      argument: 'reinforce.sampling.samplesPerPrompt',
      received: String(config.sampling.samplesPerPrompt),
      expected: 'at least 2 with baseline group',
    });
  yield* trainWithoutCritic('reinforce', method, parts, config, start);
}
