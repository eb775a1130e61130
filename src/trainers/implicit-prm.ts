/**
 * Training a policy whose log-ratios are rewards of tokens, on whether whole answers are right (Yuan et al. 2024).
 * docs/implicit-prm.md has the formulas.
 */
import { type ImplicitPrmConfig, implicitPrmConfig } from '../config/implicit-prm.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { Label } from '../data/labels.ts';
import { ArgumentError } from '../errors.ts';
import { type ImplicitRewardMetrics, implicitRewardLoss, implicitScore } from '../losses/reward.ts';
import { areaUnderRoc } from '../metrics/calibration.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import { LABEL_PARTS, LabelCounts, type LabelParts, type LabelStep, learnFromLabels } from './labels.ts';
import { compared } from './log-ratios.ts';
import type { Measure, RecordedStep } from './recorded.ts';

/** The parts of such a run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface ImplicitPrmParts extends LabelParts {
  /** Trained by `optimizer`. */
  policy: ImplicitPRM;
}

const PARTS = { policy: instanceOf(ImplicitPRM), ...LABEL_PARTS };

/** The metrics of a step. Those of the loss are of its rows before the update. */
export interface ImplicitPrmStep extends LabelStep {
  /**
   * Probability that a right answer scores above a wrong one, over all held-out rows: the area under the ROC curve. At evaluations;
   * undefined if all those rows have the same label.
   */
  validationAuc: number | undefined;
}

/**
 * Trains `policy` on labelled responses. `start` is the number of steps already done. All native memory of a step is freed before
 * it is yielded.
 * @throws ArgumentError before the first step, for another beta than that of `policy`.
 * @throws ArgumentError before the first step, for a token that the model does not have, or an empty response.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* implicitPrm(
  parts: ImplicitPrmParts,
  options: ImplicitPrmConfig,
  start = 0,
): AsyncGenerator<ImplicitPrmStep> {
  checkKinds('implicitPrm parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(implicitPrmConfig, options, 'implicit-prm');
  const { policy } = parts;
  if (config.beta !== policy.beta) throw otherBeta(config.beta, policy.beta);
  yield* learnFromLabels(parts, config, start, async (rows, _, training) => measureLabels(policy, rows, training));
}

function otherBeta(beta: number, own: number): ArgumentError {
  const fix = 'Create the ImplicitPRM with the beta that it is trained with: its file stores it, and rewards use it.';
  return new ArgumentError({ argument: 'beta', received: `${beta}`, expected: `${own}, that of the policy`, fix });
}

type Report = Omit<ImplicitPrmStep, keyof RecordedStep>;

/** An evaluation also keeps the scores of its rows. */
function measureLabels(
  policy: ImplicitPRM,
  rows: readonly Label[],
  training: boolean,
): Measure<Label, keyof ImplicitRewardMetrics, Report> {
  const { beta } = policy;
  const counts = new LabelCounts(rows);
  const scores: number[] = [];
  return {
    loss: (some, denominator, options) =>
      compared(policy, some, options, async (logProb, referenceLogProb, responseMask) => {
        const ratio = { logProb, referenceLogProb, responseMask };
        if (!training) {
          using score = await implicitScore(ratio, { beta });
          scores.push(...Array.from(await score.data(), Number));
        }
        const labels = some.map(({ good }) => Number(good));
        return await implicitRewardLoss(ratio, labels, { beta, denominators: counts.denominators(denominator) });
      }),
    report: (metrics) => ({ ...counts.report(metrics), validationAuc: undefined }),
    heldOut: () => ({
      validationAuc: areaUnderRoc(
        scores,
        rows.map(({ good }) => good),
      ),
    }),
  };
}
