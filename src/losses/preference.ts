/** Losses of policies that learn from preferences: they take tensors, never a model. docs/dpo.md has the formulas. */
import { checkObject } from '../checks/options.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Inputs, type Mask } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** What `dpoLoss` measures: means over pairs, or over chosen tokens, that add up over the pieces of a step. */
export interface DpoMetrics {
  /** Share of pairs whose chosen response has the higher log-ratio to the reference; equal ones count half. */
  accuracy: number;
  /** chosenReward minus rejectedReward. */
  margin: number;
  /** beta times the log-ratio of the response to the reference. */
  chosenReward: number;
  rejectedReward: number;
  /** log p of the response: where that of chosen ones falls, the policy forgets what it is to say. */
  chosenLogProb: number;
  rejectedLogProb: number;
  /** Negative log-likelihood of chosen responses, in nats per token. */
  nll: number;
}

export interface DpoLossOptions {
  /** How strongly a log-ratio to the reference counts, per nat. */
  beta: number;
  /** Weight of the negative log-likelihood of chosen responses. */
  nllWeight: number;
  /** What sums over pairs are divided by. Defaults to their number. */
  denominator?: number;
  /** What sums over chosen tokens are divided by. Defaults to their number. */
  nllDenominator?: number;
}

/**
 * The loss of direct preference optimisation, one scalar. `logProb` and `referenceLogProb` [2N, T] are of N chosen responses, then
 * of the N rejected ones to the same prompts; `responseMask` [2N, T] is true where a token is response.
 */
export async function dpoLoss(
  logProb: Tensor,
  referenceLogProb: Tensor,
  responseMask: Mask,
  options: DpoLossOptions,
): Promise<Loss<keyof DpoMetrics>> {
  checkObject(options, 'dpoLoss options');
  const { beta, nllWeight, denominator, nllDenominator } = options;
  const [now, reference] = [handleOf(logProb, 'logProb'), handleOf(referenceLogProb, 'referenceLogProb')];
  using inputs = new Inputs(logProb.device);
  const mask = inputs.mask(responseMask, 'responseMask');
  const lose = () => addon().dpoLoss(now, reference, mask, { beta, nllWeight }, denominator, nllDenominator);
  return new Loss(await run([logProb, referenceLogProb, ...inputs.used], lose));
}
