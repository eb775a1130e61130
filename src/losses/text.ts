/** The loss of a language model on texts that it should write: it takes predictions, never a model. docs/sft.md has the formulas. */
import { checkObject } from '../checks/options.ts';
import type { Prediction } from '../models/prediction.ts';
import { addon } from '../native/addon.ts';
import { run } from '../native/resource.ts';
import { handlesOf, Inputs, type Mask, tensorsOf } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';

/** The metrics of `sftLoss`: means over target tokens that add up over the pieces of a step. */
export interface SftMetrics {
  /** Of the distribution that each token is predicted by, in nats. */
  entropy: number;
  /** Share of targets than which no token was likelier. */
  tokenAccuracy: number;
}

export interface SftLossOptions {
  /** `nll`: −log p of every target; `dft`: the same times p, which is not differentiated. */
  loss: 'nll' | 'dft';
  /** Divisor of sums over targets. Defaults to their number. */
  denominator?: number | undefined;
}

const PREDICTION = ['logProb', 'entropy', 'right'] as const;

/** The loss of supervised fine-tuning, a scalar, on the tokens [B, T] where `mask` is true. `now` is from `predict`. */
export async function sftLoss(now: Prediction, mask: Mask, options: SftLossOptions): Promise<Loss<keyof SftMetrics>> {
  checkObject(options, 'sftLoss options');
  const { loss, denominator } = options;
  const current = handlesOf(now, PREDICTION);
  using inputs = new Inputs(now.logProb.device);
  const targets = inputs.mask(mask, 'mask');
  const used = [...tensorsOf(now, PREDICTION), ...inputs.used];
  return new Loss(await run(used, () => addon().sftLoss(current, targets, loss, denominator)));
}
