/** Losses of policies that learn from their own responses: they take tensors, never a model. docs/ppo.md has the formulas. */
import { checkObject } from '../checks/options.ts';
import type { Evaluation, Experience } from '../models/actor-critic.ts';
import { type LogProb, ROLLOUT, type Rollout } from '../models/policy.ts';
import { addon } from '../native/addon.ts';
import { run } from '../native/resource.ts';
import { handlesOf, tensorsOf } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import { rowsOf } from '../tensor/rows.ts';
import type { Tensor, TensorGroup } from '../tensor/tensor.ts';

/** The metrics of `ppoLoss`, over the response tokens it was given. */
export interface PpoMetrics {
  policyLoss: number;
  valueLoss: number;
  entropy: number;
  /** Estimated KL from the policy of the rollout to the current one, in nats per token. */
  approxKl: number;
  /** Share of tokens whose probability ratio was clipped, and share of those whose value was. */
  clipFraction: number;
  valueClipFraction: number;
  /** Largest |log ratio|. */
  maxLogRatio: number;
}

export interface PpoLossOptions {
  /** Clip range of the probability ratio: 1 ± clip. */
  clip: number;
  /** Clip range of values around those of the rollout. */
  valueClip: number;
  valueWeight: number;
  entropyWeight: number;
  /** Divisor of sums over response tokens. Defaults to their number. */
  denominator?: number;
}

/**
 * Clipped policy loss, clipped value loss and entropy bonus of PPO, as one scalar. `now` is the evaluation of `experience`
 * under the current weights; all tensors are [B, T].
 */
export async function ppoLoss(
  now: Evaluation,
  experience: Experience,
  options: PpoLossOptions,
): Promise<Loss<keyof PpoMetrics>> {
  checkObject(options, 'ppoLoss options');
  const { clip, valueClip, valueWeight, entropyWeight, denominator } = options;
  const evaluation = handlesOf(now, EVALUATION);
  const given = handlesOf(experience, EXPERIENCE);
  const weights = { clip, valueClip, valueWeight, entropyWeight };
  const used = [...tensorsOf(now, EVALUATION), ...tensorsOf(experience, EXPERIENCE)];
  return new Loss(await run(used, () => addon().ppoLoss(evaluation, given, weights, denominator)));
}

/** What `grpoLoss` measures, averaged as the loss is. */
export interface GrpoMetrics {
  policyLoss: number;
  entropy: number;
  /** Estimate of the KL from the policy of the rollout to the current one, in nats per token. */
  approxKl: number;
  /** Share of tokens that the clip keeps from moving further, in all and from below and above. */
  clipFraction: number;
  clippedLow: number;
  clippedHigh: number;
  /** Largest |log ratio|. */
  maxLogRatio: number;
}

export interface GrpoLossOptions {
  /** The probability ratio counts only above 1 − clip. */
  clip: number;
  /** And below 1 + clipHigh. Defaults to `clip`. */
  clipHigh?: number | undefined;
  /** `dapo` averages over response tokens, `row-mean` over the tokens of a response, then over responses. */
  aggregation: 'dapo' | 'row-mean';
  /** What sums over response tokens (`dapo`) or responses (`row-mean`) are divided by. Defaults to their number. */
  denominator?: number;
}

/** Answers with their advantages, all [B, T]. */
type Compared = Pick<Rollout, 'rolloutLogProb' | 'responseMask'> & { advantage: Tensor };

/** The clipped policy loss of group relative policy optimisation, one scalar. `now` is of the current weights, [B, T]. */
export async function grpoLoss(
  now: LogProb,
  compared: Compared,
  options: GrpoLossOptions,
): Promise<Loss<keyof GrpoMetrics>> {
  checkObject(options, 'grpoLoss options');
  const { clip, clipHigh = clip, aggregation, denominator } = options;
  const current = handlesOf(now, ['logProb', 'entropy']);
  const given = handlesOf(compared, COMPARED);
  const { rolloutLogProb, advantage, responseMask } = given;
  const limits = { clipLow: clip, clipHigh, aggregation };
  const lose = () => addon().grpoLoss(current, rolloutLogProb, advantage, responseMask, limits, denominator);
  return new Loss(await run([now.logProb, now.entropy, ...tensorsOf(compared, COMPARED)], lose));
}

/** Copies of the given rows of an experience; see `tensorGroup` for how to spread them. */
export function experienceRows(experience: Experience, rows: readonly number[]): Promise<TensorGroup<Experience>> {
  const fields = EXPERIENCE.map((key) => [key, experience?.[key]]);
  return rowsOf(Object.fromEntries(fields) as Experience, rows);
}

const COMPARED = ['rolloutLogProb', 'advantage', 'responseMask'] as const;
const EVALUATION = ['logProb', 'entropy', 'value'] as const;
const EXPERIENCE = [...ROLLOUT, 'rolloutValue', 'advantage', 'returns'] as const;
