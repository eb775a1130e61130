/**
 * Losses of policies that learn from pairs of a chosen and a rejected response. They take tensors, never a model;
 * native/losses/preference.h has the formulas.
 */
import { checkKinds, NUMBER, optional } from '../checks/kinds.ts';
import { checkObject } from '../checks/options.ts';
import { ArgumentError, printable } from '../errors.ts';
import { addon } from '../native/addon.ts';
import type { NativePreferenceOptions } from '../native/losses.ts';
import { handleOf, run } from '../native/resource.ts';
import { Inputs, type Mask } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** What losses of pairs measure: means over pairs, or over chosen tokens, that add up over the pieces of a step. */
export interface PreferenceMetrics {
  /** Share of pairs whose chosen response has the higher reward; equal ones count half. */
  accuracy: number;
  /** chosenReward minus rejectedReward. */
  margin: number;
  /** beta times what the method compares: the log-ratio to the reference, or without a reference the log-probability. */
  chosenReward: number;
  rejectedReward: number;
  /** log p of the response: if that of chosen responses falls, the policy is unlearning them. */
  chosenLogProb: number;
  rejectedLogProb: number;
  /** Negative log-likelihood of chosen responses, in nats per token. */
  nll: number;
}
export type DpoMetrics = PreferenceMetrics;
export interface OrpoMetrics extends PreferenceMetrics {
  /** Log-odds of the chosen response minus those of the rejected one. */
  logOdds: number;
  /** log σ of that: the term that `beta` weights. */
  logOddsRatio: number;
}

/** What sums are divided by, so that the pieces of a step add up to its mean. */
export interface PreferenceDenominators {
  /** Divides sums over pairs. Defaults to their number. */
  denominator?: number;
  /** Divides sums over chosen tokens. Defaults to their number. */
  nllDenominator?: number;
}

/** The loss of a pair; docs/dpo.md has the formulas. */
export interface DpoLossOptions extends PreferenceDenominators {
  loss?: 'sigmoid' | 'robust' | 'hinge' | 'ipo' | 'apo-zero' | 'apo-down' | 'exo' | undefined;
  /** Scale of log-ratios to the reference, per nat. */
  beta: number;
  /** Assumed share of swapped pairs, below ½. For `sigmoid`, `robust` and `exo`, which needs it. Defaults to 0. */
  labelSmoothing?: number | undefined;
  /** Weight of `loss`. Defaults to 1. */
  lossWeight?: number | undefined;
  /** Weight of the loss of binary classifier optimisation, for log-ratios that are compared plainly. Defaults to 0. */
  bcoWeight?: number | undefined;
  /** With `bcoWeight`: the mean of beta times the log-ratio over all responses of the run so far. */
  delta?: number | undefined;
  /** Weight of the negative log-likelihood of chosen responses. Defaults to 0. */
  nllWeight?: number | undefined;
  /** Compares log-ratios per token instead of sums. Defaults to true for `ipo` and false otherwise. */
  lengthNormalised?: boolean | undefined;
  /** Weight of tokens beyond the length of the pair's shorter response. Defaults to 1. */
  tailWeight?: number | undefined;
  /** The divergence from the reference that is limited. Others than `reverse-kl`, the default, are for summed `sigmoid`. */
  divergence?: 'reverse-kl' | 'forward-kl' | 'jensen-shannon' | 'alpha' | undefined;
  /** Order of the divergence `alpha`, except 1, which is `reverse-kl`. */
  alpha?: number | undefined;
}

const SMOOTHED: readonly unknown[] = ['sigmoid', 'robust', 'exo'];

/** @throws ArgumentError for an option that the loss does not use, or cannot be computed with. */
export function checkDpoLoss(
  options: Omit<DpoLossOptions, keyof PreferenceDenominators | 'delta'>,
  argument: string,
): void {
  checkObject(options, argument);
  const numbers = { labelSmoothing: optional(NUMBER), nllWeight: optional(NUMBER), tailWeight: optional(NUMBER) };
  const weights = { lossWeight: optional(NUMBER), bcoWeight: optional(NUMBER) };
  checkKinds(argument, options, { beta: NUMBER, ...numbers, ...weights, alpha: optional(NUMBER) });
  const { loss = 'sigmoid', labelSmoothing = 0, divergence = 'reverse-kl', alpha, lengthNormalised = false } = options;
  const refuse = (name: string, value: unknown, expected: string) => {
    throw new ArgumentError({ argument: `${argument}.${name}`, received: printable(value), expected });
  };
  if (labelSmoothing < 0 || labelSmoothing >= 0.5) refuse('labelSmoothing', labelSmoothing, 'a number >= 0 and < 0.5');
  if (loss === 'exo' && labelSmoothing === 0)
    refuse('labelSmoothing', 0, 'a number > 0 with the loss exo, such as 0.001');
  if (labelSmoothing > 0 && !SMOOTHED.includes(loss))
    refuse('labelSmoothing', labelSmoothing, `0 with the loss ${printable(loss)}: only sigmoid, robust and exo use it`);
  if (divergence !== 'reverse-kl' && (loss !== 'sigmoid' || lengthNormalised))
    refuse('divergence', divergence, 'reverse-kl, unless the loss is sigmoid, of sums');
  if (divergence === 'alpha' && (alpha === undefined || alpha === 1))
    refuse('alpha', alpha, 'a number other than 1 with the divergence alpha');
  if (divergence !== 'alpha' && alpha !== undefined) refuse('alpha', alpha, 'nothing without the divergence alpha');
  const plain =
    divergence === 'reverse-kl' && !(options.lengthNormalised ?? loss === 'ipo') && (options.tailWeight ?? 1) === 1;
  if (options.bcoWeight && !plain)
    refuse(
      'bcoWeight',
      options.bcoWeight,
      '0, unless log-ratios are sums of all tokens and the divergence is reverse-kl',
    );
}

/**
 * The loss of direct preference optimisation and its variants, one scalar. `logProb` and `referenceLogProb` [2N, T] are of N
 * chosen responses, then of the N rejected ones to the same prompts; `responseMask` [2N, T] is true where a token is response.
 * @throws ArgumentError for an option that the loss does not use.
 */
export async function dpoLoss(
  logProb: Tensor,
  referenceLogProb: Tensor,
  responseMask: Mask,
  options: DpoLossOptions,
): Promise<Loss<keyof DpoMetrics>> {
  checkDpoLoss(options, 'dpoLoss options');
  if (options.bcoWeight) checkKinds('dpoLoss options', options, { delta: NUMBER });
  handleOf(referenceLogProb, 'referenceLogProb');
  const { lengthNormalised = options.loss === 'ipo' } = options;
  return await preferenceLoss([logProb, referenceLogProb], responseMask, { ...options, lengthNormalised });
}

export interface OrpoLossOptions extends PreferenceDenominators {
  /** Weight of the odds ratio; the paper's λ. */
  beta: number;
}

/**
 * The loss of odds ratio preference optimisation, one scalar: the negative log-likelihood of chosen responses, and the ratio of
 * the odds of chosen and rejected ones. Rows are as for `dpoLoss`.
 */
export async function orpoLoss(
  logProb: Tensor,
  responseMask: Mask,
  options: OrpoLossOptions,
): Promise<Loss<keyof OrpoMetrics>> {
  checkKinds('orpoLoss options', options, { beta: NUMBER });
  const own = { loss: 'odds-ratio', lengthNormalised: true, nllWeight: 1 };
  return await preferenceLoss([logProb], responseMask, { ...options, ...own });
}

export interface SimpoLossOptions extends PreferenceDenominators {
  /** Scale of mean log-probabilities. */
  beta: number;
  /** Margin that chosen responses shall have, as a share of beta. */
  gammaOverBeta: number;
  /** Weight of the negative log-likelihood of chosen responses. Defaults to 0. */
  nllWeight?: number | undefined;
}

/** The loss of simple preference optimisation, one scalar: mean log-probabilities, with a margin. Rows are as for `dpoLoss`. */
export async function simpoLoss(
  logProb: Tensor,
  responseMask: Mask,
  options: SimpoLossOptions,
): Promise<Loss<keyof PreferenceMetrics>> {
  checkKinds('simpoLoss options', options, { beta: NUMBER, gammaOverBeta: NUMBER, nllWeight: optional(NUMBER) });
  const { gammaOverBeta, ...others } = options;
  const own = { lengthNormalised: true, targetMargin: gammaOverBeta * options.beta };
  return await preferenceLoss([logProb], responseMask, { ...others, ...own });
}

export interface CpoLossOptions extends PreferenceDenominators {
  loss?: 'sigmoid' | 'hinge' | undefined;
  /** Scale of log-probabilities, per nat. */
  beta: number;
  /** Assumed share of swapped pairs, below ½. For `sigmoid`. Defaults to 0. */
  labelSmoothing?: number | undefined;
  /** Weight of the negative log-likelihood of chosen responses. Defaults to 1. */
  nllWeight?: number | undefined;
}

/** The loss of contrastive preference optimisation, one scalar: DPO without a reference. Rows are as for `dpoLoss`. */
export async function cpoLoss(
  logProb: Tensor,
  responseMask: Mask,
  options: CpoLossOptions,
): Promise<Loss<keyof PreferenceMetrics>> {
  checkDpoLoss(options, 'cpoLoss options');
  const { nllWeight = 1 } = options;
  return await preferenceLoss([logProb], responseMask, { ...options, nllWeight });
}

type Filled = Omit<NativePreferenceOptions, 'beta'>;
const PLAIN: Filled = {
  loss: 'sigmoid',
  labelSmoothing: 0,
  targetMargin: 0,
  lossWeight: 1,
  bcoWeight: 0,
  delta: 0,
  nllWeight: 0,
  lengthNormalised: false,
  tailWeight: 1,
  divergence: 'reverse-kl',
  alpha: 1,
};

/** `logProbs` are those of the policy, and of the reference if there is one. */
async function preferenceLoss<Name extends string>(
  [logProb, reference]: readonly [Tensor, Tensor?],
  responseMask: Mask,
  options: PreferenceDenominators & { beta: number } & { [Key in keyof Filled]?: Filled[Key] | undefined },
): Promise<Loss<Name>> {
  const now = handleOf(logProb, 'logProb');
  using inputs = new Inputs(logProb.device);
  const mask = inputs.mask(responseMask, 'responseMask');
  const { denominator, nllDenominator, beta, ...others } = options;
  const given = Object.entries(others).filter(([, value]) => value !== undefined);
  const filled = { beta, ...PLAIN, ...Object.fromEntries(given) };
  const used = [logProb, ...(reference === undefined ? [] : [reference]), ...inputs.used];
  const then = reference && handleOf(reference, 'referenceLogProb');
  return new Loss(await run(used, () => addon().preferenceLoss(now, then, mask, filled, denominator, nllDenominator)));
}
