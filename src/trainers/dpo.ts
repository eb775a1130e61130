/** Direct preference optimisation (Rafailov et al. 2023) and its variants. docs/dpo.md has the formulas. */
import { type DpoConfig, dpoConfig } from '../config/dpo.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { checkDpoLoss, dpoLoss, type DpoLossOptions, type PreferenceMetrics } from '../losses/preference.ts';
import {
  checkReference,
  learnFromPairs,
  POLICY_PAIR_PARTS,
  type PolicyPairParts,
  type PreferenceStep,
} from './recorded.ts';

/** The parts of a DPO run; the policy has a reference. */
export type DpoParts = PolicyPairParts;
export type DpoStep = PreferenceStep;

/** The loss that `config` names. @throws ArgumentError for an option that it does not use. */
export function dpoLossOf({ loss, beta, labelSmoothing, nllWeight, logRatio }: DpoConfig): DpoLossOptions {
  const options = { loss, beta, labelSmoothing, nllWeight, ...logRatio };
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
  checkKinds('dpo parts', parts, POLICY_PAIR_PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(dpoConfig, options, 'dpo');
  const loss = dpoLossOf(config);
  const { policy } = parts;
  checkReference(policy);
  yield* learnFromPairs<PreferenceMetrics>(
    parts,
    config,
    start,
    async ({ sequence, responseMask, logProb }, denominators) => {
      using reference = await policy.referenceLogProb(sequence);
      return await dpoLoss(logProb, reference, responseMask, { ...loss, ...denominators });
    },
  );
}
