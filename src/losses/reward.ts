/** Losses of models that score answers: they take scores, never a model. docs/reward-model.md and docs/process-reward.md have the formulas. */
import { checkObject, checkOptions, checkPositive } from '../checks/options.ts';
import { nativeRanking, type RankingMetrics, type RankingOptions } from '../models/ranking.ts';
import type { StepLabelMetrics } from '../models/reward-target.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { type Ids, Inputs, type Mask } from '../tensor/arguments.ts';
import { Loss } from '../tensor/loss.ts';
import { Tensor } from '../tensor/tensor.ts';

/**
 * The loss of `score` [B] on compared answers: those to the same prompt have equal `groups` [B]; lower `ranks` [B] are better. The
 * mean within each prompt, then over prompts, or their sum divided by `denominator`.
 */
export async function rankingLoss(
  score: Tensor,
  order: { groups: Ids; ranks: Ids; denominator?: number | undefined },
  ranking: RankingOptions = {},
): Promise<Loss<keyof RankingMetrics>> {
  const handle = handleOf(score, 'score');
  checkOptions(order, ['groups', 'ranks', 'denominator'], 'rankingLoss');
  using inputs = new Inputs(score.device);
  const groups = inputs.ids(order.groups, 'groups');
  const ranks = inputs.ids(order.ranks, 'ranks');
  const native = nativeRanking(inputs, ranking);
  const lose = () => addon().rankingLoss(handle, groups, ranks, native, order.denominator);
  return new Loss(await run([score, ...inputs.used], lose));
}

/**
 * Binary cross entropy of `logits` [B, T] at the tokens that have a label: 1 for a right step, 0 for a wrong one; a negative label
 * is none. The mean over labels, or their sum divided by `denominator`.
 */
export async function stepLoss(
  logits: Tensor,
  labels: Ids,
  options: { denominator?: number | undefined } = {},
): Promise<Loss<keyof StepLabelMetrics>> {
  const handle = handleOf(logits, 'logits');
  checkOptions(options, ['denominator'], 'stepLoss');
  using inputs = new Inputs(logits.device);
  const given = inputs.ids(labels, 'labels');
  return new Loss(await run([logits, ...inputs.used], () => addon().stepLoss(handle, given, options.denominator)));
}

/** The log-probabilities [B, T] of responses under a policy and its reference, and where a token is response. */
export interface LogRatio {
  logProb: Tensor;
  referenceLogProb: Tensor;
  responseMask: Mask;
}

/**
 * The rewards [B, T] that a policy stands for: `beta` · (logProb − referenceLogProb) for response tokens, 0 elsewhere.
 * @throws ArgumentError unless `beta` is positive.
 */
export async function implicitReward(ratio: LogRatio, options: { beta: number }): Promise<Tensor> {
  return await implicit('implicitReward', ratio, options);
}

/** The score [B] of each answer by `implicitReward`: the sum over its tokens. */
export async function implicitScore(ratio: LogRatio, options: { beta: number }): Promise<Tensor> {
  return await implicit('implicitScore', ratio, options);
}

async function implicit(name: 'implicitReward' | 'implicitScore', ratio: LogRatio, options: { beta: number }) {
  checkOptions(options, ['beta'], name);
  checkPositive(options.beta, 'beta');
  using inputs = ratioInputs(ratio);
  const { now, reference, mask } = inputs;
  return new Tensor(await run(inputs.used, () => addon()[name](now, reference, mask, options.beta)));
}

/** What `implicitRewardLoss` measures, with scores as in `implicitScore`: means over answers that add up over the pieces of a step. */
export interface ImplicitRewardMetrics {
  /** Share of answers on whose side of 0 the score is; 0 counts half. */
  accuracy: number;
  /** Mean score of the right answers. */
  desirableReward: number;
  /** Mean score of the wrong answers. */
  undesirableReward: number;
}

export interface ImplicitRewardLossOptions {
  /** Scale of log-ratios to the reference, per nat. */
  beta: number;
  /** What is compared with the label: the score of an `answer` (the default), or every response token's reward by itself. */
  per?: 'answer' | 'token' | undefined;
  /** What sums over all answers, all response tokens, and right or wrong answers are divided by. Default to their numbers. */
  denominators?: { rows?: number; tokens?: number; desirable?: number; undesirable?: number };
}

/**
 * Cross entropy of the scores of answers (`implicitScore`) against their `labels` [B], 1 for right answers and 0 for wrong ones: the
 * mean over answers, or with `per: 'token'` over response tokens.
 */
export async function implicitRewardLoss(
  ratio: LogRatio,
  labels: Ids,
  options: ImplicitRewardLossOptions,
): Promise<Loss<keyof ImplicitRewardMetrics>> {
  checkOptions(options, ['beta', 'per', 'denominators'], 'implicitRewardLoss');
  const { beta, per = 'answer', denominators = {} } = options;
  checkPositive(beta, 'beta');
  using inputs = ratioInputs(ratio);
  const { now, reference, mask } = inputs;
  const given = inputs.ids(labels, 'labels');
  const weights = { beta, perToken: per === 'token' };
  const lose = () => addon().implicitRewardLoss(now, reference, mask, given, weights, { ...denominators });
  return new Loss(await run(inputs.used, lose));
}

/** The inputs of a call about `ratio`, with its handles. */
function ratioInputs(ratio: LogRatio) {
  checkObject(ratio, 'ratio');
  const { logProb, referenceLogProb, responseMask } = ratio;
  const now = handleOf(logProb, 'logProb');
  const reference = handleOf(referenceLogProb, 'referenceLogProb');
  const inputs = new Inputs(logProb.device);
  const mask = inputs.mask(responseMask, 'responseMask');
  inputs.used.push(logProb, referenceLogProb);
  return Object.assign(inputs, { now, reference, mask });
}
