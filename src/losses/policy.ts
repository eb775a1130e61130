/** Losses of policies that learn from their own responses: they take tensors, never a model. docs/ppo.md has the formulas. */
import { checkObject, checkOptions } from '../checks/options.ts';
import { checkPolicyOptions, type KlEstimator, type PolicyLossOptions } from '../checks/policy-options.ts';
import type { Evaluation, Experience, Histogram } from '../models/actor-critic.ts';
import { type LogProb, ROLLOUT, type Rollout } from '../models/policy.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { handlesOf, tensorsOf } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import { rowsOf } from '../tensor/rows.ts';
import { Tensor, type TensorGroup } from '../tensor/tensor.ts';

/** The metrics of `ppoLoss`, over the response tokens it was given. */
export interface PpoMetrics {
  policyLoss: number;
  valueLoss: number;
  entropy: number;
  /** Estimated KL from the policy of the rollout to the current one, in nats per token. */
  approxKl: number;
  /** Share of tokens whose probability ratio was clipped. */
  clipFraction: number;
  /** Share of tokens whose value was clipped; not with a histogram. */
  valueClipFraction?: number;
  /** With a histogram: share of tokens whose return lies beyond its bins. */
  valueBeyondShare?: number;
  /** Largest |log ratio|. */
  maxLogRatio: number;
}

export interface PpoLossOptions {
  /** Clip range of the probability ratio: 1 ± clip. */
  clip: number;
  /** Clip range of values around those of the rollout; not used with a histogram. */
  valueClip: number;
  valueWeight: number;
  entropyWeight: number;
  /** Where the advantage is negative, the loss of a token is at most this many times −advantage. Unlimited by default. */
  dualClip?: number | undefined;
  /** The bins of the critic's values: the value loss is then the cross entropy of `valueLogits` [B, T, bins]. */
  histogram?: Histogram | undefined;
  /** Divisor of sums over response tokens. Defaults to their number. */
  denominator?: number;
}

/**
 * Clipped policy loss, value loss and entropy bonus of PPO, as one scalar. `now` is the evaluation of `experience` under the current
 * weights; all tensors but the logits are [B, T].
 * @throws ArgumentError for a histogram without logits.
 */
export async function ppoLoss(
  now: Evaluation,
  experience: Experience,
  options: PpoLossOptions,
): Promise<Loss<keyof PpoMetrics>> {
  checkObject(options, 'ppoLoss options');
  const { clip, valueClip, valueWeight, entropyWeight, dualClip, histogram, denominator } = options;
  const { valueLogits } = Object(now) as Evaluation;
  const logits = valueLogits && handleOf(valueLogits, 'valueLogits');
  const evaluation = { ...handlesOf(now, EVALUATION), valueLogits: logits };
  const given = handlesOf(experience, EXPERIENCE);
  const weights = { clip, valueClip, valueWeight, entropyWeight, dualClip, histogram };
  const read = valueLogits === undefined ? [] : [valueLogits];
  const used = [...tensorsOf(now, EVALUATION), ...read, ...tensorsOf(experience, EXPERIENCE)];
  return new Loss(await run(used, () => addon().ppoLoss(evaluation, given, weights, denominator)));
}

/** What `policyLoss` measures. Means and shares are of response tokens, or of responses at a sequence level. */
export interface PolicyMetrics {
  /** The loss without KL and entropy, averaged as `aggregation` says. */
  policyLoss: number;
  entropy: number;
  /** Estimate of the KL from the policy of the rollout to the current one, in nats per token. */
  approxKl: number;
  /** Share that the clip keeps from moving further, in all and from below and above. */
  clipFraction: number;
  clippedLow: number;
  clippedHigh: number;
  /** With `dualClip`: the share that it limits. */
  dualClipFraction?: number;
  /** With `kl`: its estimate, averaged as `aggregation` says. */
  klLoss?: number;
  /** Largest |log ratio|. */
  maxLogRatio: number;
}

/** Responses with their advantages, all [B, T]. */
export type Compared = Pick<Rollout, 'rolloutLogProb' | 'responseMask'> & {
  advantage: Tensor;
  /** For `kl`. */
  referenceLogProb?: Tensor | undefined;
  /** Weighs the tokens, as `offPolicyWeight` gives; 1 by default. */
  weight?: Tensor | undefined;
};

/**
 * The loss of policy gradients without a critic, one scalar: GRPO and its relatives, RLOO, REINFORCE++, ReMax. `now` is of the
 * current weights, [B, T]. docs/grpo.md has the formulas.
 * @throws ArgumentError for an option that `kind` does not use.
 */
export async function policyLoss(
  now: LogProb,
  compared: Compared,
  options: PolicyLossOptions,
): Promise<Loss<keyof PolicyMetrics>> {
  checkPolicyOptions(options, 'policyLoss');
  const { denominator, tokens } = options;
  const current = handlesOf(now, ['logProb', 'entropy']);
  const given = handlesOf(compared, COMPARED);
  const optional = (['referenceLogProb', 'weight'] as const).flatMap((name) => {
    const tensor = compared[name];
    return tensor === undefined ? [] : [{ name, tensor, handle: handleOf(tensor, name) }];
  });
  const further = Object.fromEntries(optional.map(({ name, handle }) => [name, handle]));
  const all = { ...given, referenceLogProb: further.referenceLogProb, weight: further.weight };
  const used = [now.logProb, now.entropy, ...tensorsOf(compared, COMPARED), ...optional.map(({ tensor }) => tensor)];
  const chosen = chosenOf(options);
  return new Loss(await run(used, () => addon().policyLoss(current, all, chosen, denominator, tokens)));
}

/** The options with their defaults. */
function chosenOf(options: PolicyLossOptions) {
  const { kind = 'clip', level = 'token', ratioMax, dualClip, kl, klWeight = 0, topEntropy, offPolicyKl } = options;
  const { clip = 0.2, clipHigh = clip, ratioCap = 5, entropyWeight = 0 } = options;
  const { aggregation = level === 'token' ? 'dapo' : 'row-mean' } = options;
  const limits = { clipLow: clip, clipHigh, ratioMax, dualClip, ratioCap };
  return { kind, level, aggregation, ...limits, kl, klWeight, entropyWeight, topEntropy, offPolicyKl };
}

/**
 * An estimate of KL(policy ‖ reference) in nats per token, one scalar to differentiate; all tensors are [B, T]. Only `k2`, `k3+`
 * and `unbiased` have the gradient of that KL; the gradient of `k3` is that of KL(reference ‖ policy), and `k1` has none on
 * average. `unbiased` needs `rolloutLogProb`.
 */
export async function klLoss(
  logProb: Tensor,
  reference: { referenceLogProb: Tensor; responseMask: Tensor; rolloutLogProb?: Tensor },
  options: { estimator: KlEstimator; denominator?: number },
): Promise<Loss<'kl'>> {
  checkOptions(options, ['estimator', 'denominator'], 'klLoss');
  const { estimator, denominator } = options;
  checkObject(reference, 'klLoss reference');
  const { rolloutLogProb = logProb, ...others } = reference;
  const now = handleOf(logProb, 'logProb');
  const keys = ['referenceLogProb', 'responseMask', 'rolloutLogProb'] as const;
  const all = { ...others, rolloutLogProb };
  const given = handlesOf(all, keys);
  const lose = () =>
    addon().klLoss(now, given.referenceLogProb, given.rolloutLogProb, given.responseMask, estimator, denominator);
  return new Loss(await run([logProb, ...tensorsOf(all, keys)], lose));
}

/** Weights of tokens [B, T] that correct for responses sampled by other numbers than those that train; 0 outside the response. */
export interface CorrectionOptions {
  /**
   * Limits the ratio of a token, or of the whole response (`sequence-…`): `truncate` to `max`, `mask` to 0 above it.
   * `geometric-mask` keeps the tokens of responses whose mean ratio is in range.
   */
  mode: 'token-truncate' | 'token-mask' | 'sequence-truncate' | 'sequence-mask' | 'geometric-mask';
  /** Lower limit, not for the sequence modes. Defaults to 0. */
  min?: number | undefined;
  max: number;
}

/** See `CorrectionOptions`; for `weight` of `policyLoss`. */
export async function offPolicyWeight(
  rollout: Pick<Rollout, 'rolloutLogProb' | 'samplerLogProb' | 'responseMask'>,
  options: CorrectionOptions,
): Promise<Tensor> {
  checkOptions(options, ['mode', 'min', 'max'], 'offPolicyWeight');
  const { mode, min, max } = options;
  const keys = ['rolloutLogProb', 'samplerLogProb', 'responseMask'] as const;
  const given = handlesOf(rollout, keys);
  const weigh = () =>
    addon().offPolicyWeight(given.rolloutLogProb, given.samplerLogProb, given.responseMask, { mode, min, max });
  return new Tensor(await run(tensorsOf(rollout, keys), weigh));
}

/** Copies of the given rows of an experience; see `tensorGroup` for how to spread them. */
export function experienceRows(experience: Experience, rows: readonly number[]): Promise<TensorGroup<Experience>> {
  const fields = EXPERIENCE.map((key) => [key, experience?.[key]]);
  return rowsOf(Object.fromEntries(fields) as Experience, rows);
}

const COMPARED = ['rolloutLogProb', 'advantage', 'responseMask'] as const;
const EVALUATION = ['logProb', 'entropy', 'value'] as const;
const EXPERIENCE = [...ROLLOUT, 'rolloutValue', 'advantage', 'returns'] as const;
