/**
 * Target policy optimisation (Kaddour 2026): fits the policy's choice among the responses to a prompt to a target that prefers the
 * better ones. docs/target-policy.md has the formulas.
 */
import type { GroupMetrics } from '../advantages.ts';
import { parseKnown } from '../config/schema.ts';
import { type TargetPolicyConfig, targetPolicyConfig } from '../config/target-policy.ts';
import { type TargetPolicyMetrics, targetPolicyLoss } from '../losses/target-policy.ts';
import { type CriticFreeMethod, type CriticFreeStep, type PolicyParts, trainWithoutCritic } from './critic-free.ts';
import { byGroup, checkWholeGroups, type ScoredBatch } from './whole-groups.ts';

/** The parts of such a run. */
export type TargetPolicyParts = PolicyParts;
/** The metrics of an iteration. */
export type TargetPolicyStep = CriticFreeStep<GroupMetrics, keyof TargetPolicyMetrics>;

const method: CriticFreeMethod<TargetPolicyConfig, ScoredBatch, GroupMetrics, keyof TargetPolicyMetrics> = {
  ...byGroup,
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
  checkWholeGroups('target-policy', config);
  yield* trainWithoutCritic('target-policy', method, parts, config, start);
}
