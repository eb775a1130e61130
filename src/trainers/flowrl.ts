/**
 * FlowRL (Zhu et al. 2025): fits the policy to the reference, weighted by exp(beta · score), so that it does not only give the best
 * response. docs/flowrl.md has the formulas.
 */
import type { GroupMetrics } from '../advantages.ts';
import { checkKinds, instanceOf } from '../checks/kinds.ts';
import { type FlowrlConfig, flowrlConfig } from '../config/flowrl.ts';
import { parseKnown } from '../config/schema.ts';
import { type FlowrlMetrics, flowrlLoss } from '../losses/flowrl.ts';
import { type FlowrlEvaluation, FlowrlPolicy } from '../models/flowrl-policy.ts';
import { type CriticFreeMethod, type CriticFreeStep, type PolicyParts, trainWithoutCritic } from './critic-free.ts';
import { byGroup, checkWholeGroups, type ScoredBatch } from './whole-groups.ts';

/** The parts of such a run. */
export interface FlowrlParts extends PolicyParts {
  policy: FlowrlPolicy;
}

/** The metrics of an iteration. */
export type FlowrlStep = CriticFreeStep<GroupMetrics, keyof FlowrlMetrics>;

type FlowrlMethod = CriticFreeMethod<FlowrlConfig, ScoredBatch, GroupMetrics, keyof FlowrlMetrics, FlowrlEvaluation>;

function methodOf(policy: FlowrlPolicy): FlowrlMethod {
  return {
    ...byGroup,
    evaluate: ({ sequence, responseMask }, temperature) => policy.evaluate(sequence, responseMask, { temperature }),
    countOf: (lengths) => lengths.length,

    async lossOf(now, batch, { sampling: { samplesPerPrompt }, loss }, counts) {
      return await flowrlLoss(now, batch, batch.score, { samplesPerPrompt, ...loss, ...counts });
    },
  };
}

/**
 * Trains `policy`, one iteration per step: answer prompts, several times each, score the answers, move the policy and log Z towards
 * balance; see `trainWithoutCritic`.
 * @throws ConfigError unless minibatches hold whole groups.
 */
export async function* flowrl(parts: FlowrlParts, options: FlowrlConfig, start = 0): AsyncGenerator<FlowrlStep> {
  const config = parseKnown(flowrlConfig, options, 'flowrl');
  checkWholeGroups('flowrl', config);
  checkKinds('flowrl parts', parts, { policy: instanceOf(FlowrlPolicy) });
  yield* trainWithoutCritic('flowrl', methodOf(parts.policy), parts, config, start);
}
