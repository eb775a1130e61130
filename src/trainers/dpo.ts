/** Direct preference optimisation (Rafailov et al. 2023) and its variants. docs/dpo.md has the formulas. */
import { type DpoConfig, dpoConfig } from '../config/dpo.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { Preference } from '../data/preferences.ts';
import type { ComparedLogProb } from '../models/policy.ts';
import { checkDpoLoss, dpoLoss, type DpoLossOptions, type PreferenceMetrics } from '../losses/preference.ts';
import { deltaWith, RunningMean, type Sequence } from './log-ratios.ts';
import {
  checkReference,
  learnFromPairs,
  POLICY_PAIR_PARTS,
  type PolicyPairParts,
  type PreferenceStep,
} from './recorded.ts';

/** The parts of a DPO run; the policy has a reference. */
export interface DpoParts extends PolicyPairParts {
  /** The mean of the rewards so far; needed with `mixture.bcoWeight`. */
  rewardMean?: RunningMean | undefined;
}
export interface DpoStep extends PreferenceStep {
  /** The mean of all rewards so far; undefined without `mixture.bcoWeight`. */
  delta?: number | undefined;
}

/** The loss that `config` names. @throws ArgumentError for an option that it does not use. */
export function dpoLossOf({ loss, beta, labelSmoothing, nllWeight, mixture, logRatio }: DpoConfig): DpoLossOptions {
  const options = { loss, beta, labelSmoothing, nllWeight, ...mixture, ...logRatio };
  checkDpoLoss(options, 'dpo');
  return options;
}

/**
 * Trains `policy` on pairs. `start` is the number of steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a policy without a reference.
 * @throws ArgumentError before the first step, for an option that the loss does not use.
 * @throws ArgumentError before the first step, for a token that the model does not have, or an empty response.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* dpo(parts: DpoParts, options: DpoConfig, start = 0): AsyncGenerator<DpoStep> {
  checkKinds('dpo parts', parts, { ...POLICY_PAIR_PARTS, rewardMean: optional(instanceOf(RunningMean)) });
  checkInteger(start, 0, 'start');
  const config = parseKnown(dpoConfig, options, 'dpo');
  const loss = dpoLossOf(config);
  const { policy, optimizer, rewardMean } = parts;
  checkReference(policy);
  if (config.mixture.bcoWeight > 0) checkKinds('dpo parts', parts, { rewardMean: instanceOf(RunningMean) });
  yield* learnFromPairs<PreferenceMetrics, ComparedLogProb>(parts, config, start, {
    read: (sequence, options) => policy.compare(sequence, options),
    lossOf: ({ logProb, referenceLogProb, responseMask }, denominators, { delta }) =>
      dpoLoss(logProb, referenceLogProb, responseMask, { ...loss, delta, ...denominators }),
    async know(pairs, microBatch, training) {
      if (!rewardMean) return {};
      if (!training) return { delta: rewardMean.mean };
      return await deltaWith(rewardMean, responsesOf(pairs), { policy, optimizer, microBatch, beta: config.beta });
    },
  });
}

function responsesOf(pairs: readonly Preference[]): Sequence[] {
  return pairs.flatMap(({ prompt, chosen, rejected }) => [
    { prompt, response: chosen },
    { prompt, response: rejected },
  ]);
}
