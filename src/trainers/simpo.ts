/** Simple preference optimisation (Meng et al. 2024). docs/simpo.md has the formulas. */
import { type SimpoConfig, simpoConfig } from '../config/simpo.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { simpoLoss, type PreferenceMetrics } from '../losses/preference.ts';
import { learnFromPairs, POLICY_PAIR_PARTS, type PolicyPairParts, type PreferenceStep } from './recorded.ts';

/** The parts of a SimPO run. No reference is used. */
export type SimpoParts = PolicyPairParts;
export type SimpoStep = PreferenceStep;

/**
 * Trains `policy` on pairs. `start` is the number of steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a token that the model does not have, or an empty response.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* simpo(parts: SimpoParts, options: SimpoConfig, start = 0): AsyncGenerator<SimpoStep> {
  checkKinds('simpo parts', parts, POLICY_PAIR_PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(simpoConfig, options, 'simpo');
  const { beta, gammaOverBeta, nllWeight } = config;
  yield* learnFromPairs<PreferenceMetrics>(parts, config, start, {
    read: (sequence, options) => parts.policy.logProb(sequence, options),
    lossOf: ({ logProb, responseMask }, denominators) =>
      simpoLoss(logProb, responseMask, { beta, gammaOverBeta, nllWeight, ...denominators }),
  });
}
