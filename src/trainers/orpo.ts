/** Odds ratio preference optimisation (Hong et al. 2024). docs/orpo.md has the formulas. */
import { type OrpoConfig, orpoConfig } from '../config/orpo.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import { orpoLoss, type OrpoMetrics } from '../losses/preference.ts';
import { learnFromPairs, POLICY_PAIR_PARTS, type PolicyPairParts, type PreferenceStep } from './recorded.ts';

/** The parts of an ORPO run. No reference is used. */
export type OrpoParts = PolicyPairParts;
export interface OrpoStep extends PreferenceStep, OrpoMetrics {}

/**
 * Trains `policy` on pairs. `start` is the number of steps already done. All native memory of a step is freed before it is yielded.
 * @throws ArgumentError before the first step, for a token that the model does not have, or an empty response.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* orpo(parts: OrpoParts, options: OrpoConfig, start = 0): AsyncGenerator<OrpoStep> {
  checkKinds('orpo parts', parts, POLICY_PAIR_PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(orpoConfig, options, 'orpo');
  const { beta } = config;
  yield* learnFromPairs<OrpoMetrics>(parts, config, start, {
    read: (sequence, options) => parts.policy.logProb(sequence, options),
    lossOf: ({ logProb, responseMask }, denominators) => orpoLoss(logProb, responseMask, { beta, ...denominators }),
  });
}
