/**
 * Losses of policies that learn from single responses, labelled desirable or not. They take tensors, never a model;
 * native/losses/kto.h has the formulas.
 */
import { checkKinds, LIST, NUMBER, optional } from '../checks/kinds.ts';
import { ArgumentError, printable } from '../errors.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Inputs, type Mask } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import { Tensor } from '../tensor/tensor.ts';

/** What `ktoLoss` measures: means over rows, or over the desirable or undesirable ones, that add up over the pieces of a step. */
export interface KtoMetrics {
  /** Share of rows whose reward is on the right side of the reference point; those on it count half. */
  accuracy: number;
  /** z0, the estimated KL to the reference in nats per response, at least 0; 0 where the loss does not use it. */
  kl: number;
  /** beta times the log-ratio to the reference. */
  desirableReward: number;
  undesirableReward: number;
}

export interface KtoLossOptions {
  loss?: 'kto' | 'apo-zero-unpaired' | 'bco' | undefined;
  /** Scale of log-ratios to the reference, per nat. */
  beta: number;
  /** Weights of the rows. Default to 1. */
  desirableWeight?: number | undefined;
  undesirableWeight?: number | undefined;
  /** For `kto`: log-ratios [rows] of responses to other prompts. No gradient flows through them; without any, z0 is 0. */
  mismatched?: readonly Tensor[] | undefined;
  /** For `bco`: the mean of beta times the log-ratio over all rows of the run so far. */
  delta?: number | undefined;
  /** What sums over all, the desirable and the undesirable rows are divided by. Default to their numbers. */
  denominators?: { rows?: number; desirable?: number; undesirable?: number };
}

const PARTS = {
  beta: NUMBER,
  desirableWeight: optional(NUMBER),
  undesirableWeight: optional(NUMBER),
  mismatched: optional(LIST),
  delta: optional(NUMBER),
};

/**
 * The loss of Kahneman-Tversky optimisation, or of binary classifier optimisation, one scalar. `logProb` and `referenceLogProb`
 * are [B, T]; `responseMask` [B, T] is true where a token is response, `desirable` [B] where the response is a good one.
 * @throws ArgumentError for an option that the loss does not use, or one that it lacks.
 */
export async function ktoLoss(
  logProb: Tensor,
  referenceLogProb: Tensor,
  responseMask: Mask,
  desirable: Mask,
  options: KtoLossOptions,
): Promise<Loss<keyof KtoMetrics>> {
  checkKinds('ktoLoss options', options, PARTS);
  const { loss = 'kto', beta, desirableWeight = 1, undesirableWeight = 1, denominators = {} } = options;
  const [mismatched, delta] = [usedOption(options, 'mismatched', 'kto'), usedOption(options, 'delta', 'bco')];
  const [now, then] = [handleOf(logProb, 'logProb'), handleOf(referenceLogProb, 'referenceLogProb')];
  using inputs = new Inputs(logProb.device);
  const mask = inputs.mask(responseMask, 'responseMask');
  const labels = inputs.mask(desirable, 'desirable');
  const others = mismatched ?? [];
  const handles = others.map((tensor, i) => handleOf(tensor, `mismatched[${i}]`));
  const term = loss === 'apo-zero-unpaired' ? 'kto' : loss;
  const weights = { loss: term, beta, desirableWeight, undesirableWeight, delta: delta ?? 0 };
  const lose = () => addon().ktoLoss(now, then, mask, labels, handles, weights, { ...denominators });
  return new Loss(await run([logProb, referenceLogProb, ...others, ...inputs.used], lose));
}

/** An option that one loss needs and the others do not use. */
function usedOption<Name extends 'mismatched' | 'delta'>(options: KtoLossOptions, name: Name, by: string) {
  const { loss = 'kto', [name]: value } = options;
  if ((loss === by) === (value !== undefined)) return value as KtoLossOptions[Name];
  const received = value === undefined ? 'nothing' : printable(value);
  const expected = loss === by ? `a value with the loss ${by}` : `nothing with the loss ${printable(loss)}`;
  throw new ArgumentError({ argument: `ktoLoss options.${name}`, received, expected });
}

/** The log-ratio of each response to the reference [B], a sum over its tokens; tensors are those of `ktoLoss`. */
export async function logRatio(logProb: Tensor, referenceLogProb: Tensor, responseMask: Mask): Promise<Tensor> {
  const [now, then] = [handleOf(logProb, 'logProb'), handleOf(referenceLogProb, 'referenceLogProb')];
  using inputs = new Inputs(logProb.device);
  const mask = inputs.mask(responseMask, 'responseMask');
  return new Tensor(await run([logProb, referenceLogProb, ...inputs.used], () => addon().logRatio(now, then, mask)));
}
