/** Turns scores of responses into advantages: how much better than expected each token or response was. docs/ppo.md has GAE. */
import type { ValuedRollout } from './models/actor-critic.ts';
import { ROLLOUT, type Rollout } from './models/policy.ts';
import { handlesOf, Inputs, tensorsOf, type Values } from './tensor/arguments.ts';
import { addon, type NativeMetrics, type TensorHandle } from './native/addon.ts';
import { checkObject, checkOptions } from './checks/options.ts';
import { run } from './native/resource.ts';
import { Measured } from './tensor/loss.ts';
import { type Tensor, type TensorGroup, tensorGroup } from './tensor/tensor.ts';

/** Metrics of all kinds of advantages, and of `returnAdvantages`. All but the last are means over rows. */
export interface ReturnMetrics {
  /** KL to the reference policy, in nats per response. */
  kl: number;
  score: number;
  /** Score of a response minus the KL penalty of its tokens. */
  reward: number;
  /** Number of tokens in a response. */
  responseLength: number;
  /** Largest difference between a log-probability as the sampler saw it and as training computes it. */
  samplerGap: number;
}

/** The metrics of `judge`. */
export interface JudgeMetrics extends ReturnMetrics {
  /** Share of the variance of the returns that the values explain. */
  explainedVariance: number;
}

export interface JudgeOptions {
  /** Weight of the penalty for KL to the reference policy. */
  klWeight: number;
  /** Discount factor of rewards. */
  gamma: number;
  /** GAE lambda: 1 is unbiased, lower has less variance. */
  lambda: number;
  /** Whether to normalise advantages to mean 0 and variance 1 over all response tokens. */
  whiten: boolean;
  /**
   * If set, the lambda of a response of n tokens is 1 − 1 / (lengthAdaptive · n), at least 0, and `lambda` is that of the returns
   * alone.
   */
  lengthAdaptive?: number | undefined;
  /** A reward for every token [B, T], added to the score at the last one. */
  dense?: Tensor | undefined;
}

/** Tensors [B, T] by name, and `metrics()`. */
type Measurement<Name extends string, Metrics> = TensorGroup<Record<Name, Tensor>> & { metrics(): Promise<Metrics> };

/** reward, advantage and returns [B, T] of a rollout, and `metrics()`. */
export type Judgement = Measurement<'reward' | 'advantage' | 'returns', JudgeMetrics>;

/** Turns scores [B] of a rollout's responses into rewards, advantages and returns. */
export async function judge(rollout: ValuedRollout, score: Values, options: JudgeOptions): Promise<Judgement> {
  checkObject(options, 'judge options');
  const { klWeight, gamma, lambda, whiten, lengthAdaptive, dense } = options;
  const chosen = { klWeight, gamma, lambda, whiten, lengthAdaptive };
  return await measure(rollout, VALUED_ROLLOUT, { score, dense }, (given, scores, rewards) =>
    addon().judge(given, scores, rewards, chosen),
  );
}

/** The metrics of `groupAdvantages`. */
export interface GroupMetrics extends ReturnMetrics {
  /** Standard deviation of the scores of a prompt, averaged over prompts. */
  scoreStd: number;
  /** Share of prompts whose responses all have the same reward: nothing is learned from them. */
  zeroStdShare: number;
}

export interface GroupOptions {
  /** Responses per prompt, in neighbouring rows. */
  samplesPerPrompt: number;
  /** Weight of the penalty for KL to the reference policy. */
  klWeight: number;
  /** What a response is compared with; native/advantages/group.h has the formulas. */
  estimator: 'group' | 'rloo' | 'max-rl' | 'opo' | 'pass-k' | 'baseline';
  /** Whether advantages are divided by the standard deviation of their group, of the batch, or not at all. */
  scale: 'group' | 'batch' | 'none';
  /** [prompts], of the estimator `baseline`: what is subtracted from the rewards of the responses to a prompt. */
  baseline?: Values | undefined;
  /** Weights of several rewards: the scores are then [B, N], each reward is compared on its own, and the advantages are added. */
  rewardWeights?: readonly number[] | undefined;
}

/** advantage [B, T] of a rollout, and `metrics()`. */
export type GroupAdvantages = Measurement<'advantage', GroupMetrics>;

/**
 * How much better each response is than the other responses to its prompt, from scores [B]: the same number for every token
 * of a response, 0 elsewhere. Needs no critic.
 * @throws ArgumentError if the number of rows is not a multiple of `samplesPerPrompt`.
 * @throws ArgumentError for a `scale` that the estimator does not have, or a negative reward with `max-rl`.
 */
export async function groupAdvantages(
  rollout: Rollout,
  score: Values,
  options: GroupOptions,
): Promise<GroupAdvantages> {
  checkObject(options, 'groupAdvantages options');
  const { samplesPerPrompt, klWeight, estimator, scale, baseline, rewardWeights = [] } = options;
  const chosen = { samplesPerPrompt, klWeight, estimator, scale, rewardWeights: [...rewardWeights] };
  return await measure(rollout, ROLLOUT, { score, baseline }, (given, scores, base) =>
    addon().groupAdvantages(given, scores, base, chosen),
  );
}

export interface ReturnOptions {
  /** Responses per prompt, in neighbouring rows. */
  samplesPerPrompt: number;
  /** Weight of the penalty for KL to the reference policy, token by token. */
  klWeight: number;
  /** Discount factor of rewards. */
  gamma: number;
  /** Whether the mean score of a prompt's responses is subtracted from their scores first. */
  groupBaseline: boolean;
}

/** advantage and returns [B, T] of a rollout, and `metrics()`. */
export type ReturnAdvantages = Measurement<'advantage' | 'returns', ReturnMetrics>;

/**
 * The advantages of REINFORCE++ from scores [B]: the rewards that follow each token, the score at the last one and a KL penalty at
 * every one, whitened over all response tokens.
 * @throws ArgumentError if the number of rows is not a multiple of `samplesPerPrompt`.
 */
export async function returnAdvantages(
  rollout: Rollout,
  score: Values,
  options: ReturnOptions,
): Promise<ReturnAdvantages> {
  checkOptions(options, ['samplesPerPrompt', 'klWeight', 'gamma', 'groupBaseline'], 'returnAdvantages');
  return await measure(rollout, ROLLOUT, { score }, (given, scores) =>
    addon().returnAdvantages(given, scores, options),
  );
}

const VALUED_ROLLOUT = [...ROLLOUT, 'rolloutValue'] as const;

/** Calls `call` with the fields `keys` of a rollout, with scores [B] and what else is `given`, and wraps the result. */
async function measure<Key extends string, Made extends { metrics: NativeMetrics }, Result>(
  rollout: Readonly<Record<Key | 'rolloutLogProb', Tensor>>,
  keys: readonly Key[],
  { score, ...more }: { score: Values; baseline?: Values | undefined; dense?: Tensor | undefined },
  call: (rollout: Record<Key, TensorHandle>, score: TensorHandle, more: TensorHandle | undefined) => Promise<Made>,
): Promise<Result> {
  const given = handlesOf(rollout, keys);
  using inputs = new Inputs(rollout.rolloutLogProb.device);
  const scores = inputs.values(score, 'score');
  const [other] = Object.entries(more).filter(([, value]) => value !== undefined);
  const further = other && inputs.values(other[1] as Values, other[0]);
  const used = [...tensorsOf(rollout, keys), ...inputs.used];
  const { metrics, ...made } = await run(used, () => call(given, scores, further));
  const group = tensorGroup(made);
  const measured = new Measured(metrics);
  const all = [...(Object.values(group) as Tensor[]), measured];
  const dispose = () => {
    for (const each of all) each.dispose();
  };
  // Not enumerable, so that spreading the group copies only its tensors.
  return Object.defineProperties(group, {
    metrics: { value: () => measured.read() },
    dispose: { value: dispose },
    [Symbol.dispose]: { value: dispose },
  }) as Result;
}
