/**
 * Target policy optimisation (Kaddour 2026): fits the policy's choice among the responses to a prompt to a target that prefers the
 * better ones. docs/target-policy.md has the formulas.
 */
import { type GroupMetrics, groupAdvantages } from '../advantages.ts';
import { parseKnown } from '../config/schema.ts';
import { type TargetPolicyConfig, targetPolicyConfig } from '../config/target-policy.ts';
import { ConfigError } from '../errors.ts';
import { type TargetPolicyMetrics, targetPolicyLoss } from '../losses/target-policy.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type CriticFreeMethod, type CriticFreeStep, type PolicyParts, trainWithoutCritic } from './critic-free.ts';

/** The parts of such a run. */
export type TargetPolicyParts = PolicyParts;
/** The metrics of an iteration. */
export type TargetPolicyStep = CriticFreeStep<GroupMetrics, keyof TargetPolicyMetrics>;

type Batch = Record<'sequence' | 'responseMask' | 'rolloutLogProb' | 'score', Tensor>;

const method: CriticFreeMethod<TargetPolicyConfig, Batch, GroupMetrics, keyof TargetPolicyMetrics> = {
  klWeight: () => 0,
  rowsTogether: ({ sampling }) => sampling.samplesPerPrompt,

  async compare(_parts, { sampling }, { rollout, normalised }) {
    const { samplesPerPrompt } = sampling;
    const { sequence, responseMask, rolloutLogProb } = rollout;
    const options = { samplesPerPrompt, klWeight: 0, estimator: 'group', scale: 'none' } as const;
    using compared = await groupAdvantages(rollout, normalised, options);
    const batch = { sequence, responseMask, rolloutLogProb, score: normalised };
    return { batch, metrics: await compared.metrics(), [Symbol.dispose]: () => {} };
  },

  countOf: (lengths, { sampling }) => lengths.length / sampling.samplesPerPrompt,

  async lossOf(now, batch, { sampling, eta }, counts) {
    const { samplesPerPrompt } = sampling;
    return await targetPolicyLoss(now, batch, batch.score, { samplesPerPrompt, eta, ...counts });
  },
};

/**
 * Trains `policy`, one iteration per step: answer prompts, several times each, score the answers, move the policy towards a target
 * over them; see `trainWithoutCritic`.
 * @throws ConfigError unless minibatches hold whole groups.
 */
export async function* targetPolicy(
  parts: TargetPolicyParts,
  options: TargetPolicyConfig,
  start = 0,
): AsyncGenerator<TargetPolicyStep> {
  const config = parseKnown(targetPolicyConfig, options, 'target-policy');
  const { minibatchSize, sampling } = config;
  if (minibatchSize % sampling.samplesPerPrompt !== 0)
    throw new ConfigError({
      argument: 'target-policy.minibatchSize',
      received: String(minibatchSize),
      expected: `a multiple of sampling.samplesPerPrompt, ${sampling.samplesPerPrompt}`,
      fix: 'The responses to a prompt are learned from together.',
    });
  yield* trainWithoutCritic('target-policy', method, parts, config, start);
}
