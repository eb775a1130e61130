/**
 * Direct preference optimisation on the policy's own answers (Guo et al. 2024): of several responses to a prompt, the best is chosen and
 * the worst rejected. docs/online-dpo.md has the rule.
 */
import { type GroupMetrics, groupAdvantages } from '../advantages.ts';
import { type OnlineDpoConfig, onlineDpoConfig } from '../config/online-dpo.ts';
import { parseKnown } from '../config/schema.ts';
import { ConfigError } from '../errors.ts';
import { checkDpoLoss, dpoLoss, type PreferenceMetrics } from '../losses/preference.ts';
import type { Loss } from '../tensor/loss.ts';
import { rowsOf } from '../tensor/rows.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type CriticFreeMethod, type CriticFreeStep, type PolicyParts, trainWithoutCritic } from './critic-free.ts';
import { type PolicyMetric, sum } from './on-policy.ts';
import { checkReference } from './recorded.ts';
import { chunks } from './rollouts.ts';

/** The parts of such a run; the policy has a reference. */
export type OnlineDpoParts = PolicyParts;

/** What the scores of an iteration say. */
export interface OnlineDpoMetrics extends GroupMetrics {
  /** Number of prompts whose responses all have the same score: nothing is learned from them. */
  ties: number;
}

/** The metrics of an iteration; those of the loss are absent where all prompts are ties. */
export type OnlineDpoStep = CriticFreeStep<OnlineDpoMetrics, never> & Partial<PreferenceMetrics>;

type Batch = Record<'sequence' | 'responseMask' | 'referenceLogProb', Tensor>;
type Config = OnlineDpoConfig & { approxKlStop: false };

const method: CriticFreeMethod<Config, Batch, OnlineDpoMetrics, never> = {
  klWeight: () => 0,
  rowsTogether: () => 2,

  async compare(_parts, { sampling: { samplesPerPrompt } }, { rollout, normalised, learned }) {
    const options = { samplesPerPrompt, klWeight: 0, estimator: 'group', scale: 'none' } as const;
    using compared = await groupAdvantages(rollout, normalised, options);
    const pairs = bestAndWorst(learned, samplesPerPrompt);
    const { sequence, responseMask, referenceLogProb } = rollout;
    const batch = await rowsOf({ sequence, responseMask, referenceLogProb }, pairs.flat());
    const ties = learned.length / samplesPerPrompt - pairs.length;
    const metrics = { ...(await compared.metrics()), ties };
    return { batch: { ...batch }, rows: pairs.flat(), metrics, [Symbol.dispose]: () => batch.dispose() };
  },

  // Chosen responses are in even places; the loss takes them all before the rejected ones.
  arrange: (rows) => [...rows.filter((row) => row % 2 === 0), ...rows.filter((row) => row % 2 === 1)],

  countOf: (lengths) => lengths.length / 2,

  async lossOf(now, { referenceLogProb, responseMask }, { loss, beta, labelSmoothing }, { denominator }, lengths) {
    const nllDenominator = sum(lengths.filter((_, place) => place % 2 === 0));
    const options = { loss, beta, labelSmoothing, denominator, nllDenominator };
    return (await dpoLoss(now.logProb, referenceLogProb, responseMask, options)) as object as Loss<PolicyMetric>;
  },
};

/** The places of the best and the worst response to each prompt, the first of equal ones; no place for prompts of equal scores. */
export function bestAndWorst(scores: readonly number[], samplesPerPrompt: number): [best: number, worst: number][] {
  return chunks([...scores.keys()], samplesPerPrompt).flatMap((places) => {
    const own = places.map((place) => scores[place] as number);
    const [most, least] = [Math.max(...own), Math.min(...own)];
    if (most === least) return [];
    return [[places[own.indexOf(most)] as number, places[own.indexOf(least)] as number]];
  });
}

/**
 * Trains `policy`, one iteration per step: answer prompts, several times each, score the answers, learn to prefer the best to the worst
 * of each prompt; see `trainWithoutCritic`.
 * @throws ArgumentError for a policy without a reference, or an option that the loss does not use.
 * @throws ConfigError unless minibatches hold whole pairs.
 */
export async function* onlineDpo(
  parts: OnlineDpoParts,
  options: OnlineDpoConfig,
  start = 0,
): AsyncGenerator<OnlineDpoStep> {
  const config = parseKnown(onlineDpoConfig, options, 'online-dpo');
  const { loss, beta, labelSmoothing, minibatchSize } = config;
  checkDpoLoss({ loss, beta, labelSmoothing }, 'online-dpo');
  if (minibatchSize % 2 !== 0)
    throw new ConfigError({
      argument: 'online-dpo.minibatchSize',
      received: String(minibatchSize),
      expected: 'an even number',
      fix: 'The best and the worst response to a prompt are learned from together.',
    });
  if (parts?.policy) checkReference(parts.policy);
  yield* trainWithoutCritic('online-dpo', method, parts, { ...config, approxKlStop: false as const }, start);
}
