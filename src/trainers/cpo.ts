/** Contrastive preference optimisation (Xu et al. 2024). docs/cpo.md has the formulas. */
import { type CpoConfig, cpoConfig } from '../config/cpo.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { checkDpoLoss, cpoLoss, type CpoLossOptions, type PreferenceMetrics } from '../losses/preference.ts';
import { learnFromPairs, POLICY_PAIR_PARTS, type PolicyPairParts, type PreferenceStep } from './recorded.ts';

/** The parts of a CPO run. No reference is used. */
export type CpoParts = PolicyPairParts;
export type CpoStep = PreferenceStep;

/** The loss that `config` names. @throws ArgumentError for an option that it does not use. */
export function cpoLossOf({ loss, beta, labelSmoothing, nllWeight }: CpoConfig): CpoLossOptions {
  const options = { loss, beta, labelSmoothing, nllWeight };
  checkDpoLoss(options, 'cpo');
  return options;
}

/**
 * Trains `policy` on pairs. `start` is the number of steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a token that the model does not have, or an empty response.
 * @throws ArgumentError before the first step, for an option that the loss does not use.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* cpo(parts: CpoParts, options: CpoConfig, start = 0): AsyncGenerator<CpoStep> {
  checkKinds('cpo parts', parts, POLICY_PAIR_PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(cpoConfig, options, 'cpo');
  const loss = cpoLossOf(config);
  yield* learnFromPairs<PreferenceMetrics>(parts, config, start, {
    read: (sequence, options) => parts.policy.logProb(sequence, options),
    lossOf: ({ logProb, responseMask }, denominators) => cpoLoss(logProb, responseMask, { ...loss, ...denominators }),
  });
}
