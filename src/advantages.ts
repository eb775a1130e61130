/** From scores of responses to advantages: what each token, or each response, was better than expected. docs/ppo.md has GAE. */
import type { ValuedRollout } from './models/actor-critic.ts';
import { ROLLOUT, type Rollout } from './models/policy.ts';
import { handlesOf, Inputs, tensorsOf, type Values } from './tensor/arguments.ts';
import { addon, type NativeMetrics, type TensorHandle } from './native/addon.ts';
import { checkObject } from './checks/options.ts';
import { run } from './native/resource.ts';
import { Measured } from './tensor/loss.ts';
import { type Tensor, type TensorGroup, tensorGroup } from './tensor/tensor.ts';

/** What all advantages measure. All but the last are means over rows. */
interface ScoreMetrics {
  /** To the reference policy, in nats per response. */
  kl: number;
  score: number;
  /** Of a response: its score less the KL penalty of its tokens. */
  reward: number;
  /** Tokens of a response. */
  responseLength: number;
  /** Largest difference between a log-probability that the sampler saw and the one that training computes. */
  samplerGap: number;
}

/** What `judge` measures. */
export interface JudgeMetrics extends ScoreMetrics {
  /** Share of the returns' variance that the values explain. */
  explainedVariance: number;
}

export interface JudgeOptions {
  /** Cost of KL to the reference policy, per nat. */
  klWeight: number;
  /** Discount of later rewards. */
  gamma: number;
  /** Bias against variance of advantages: 1 has no bias. */
  lambda: number;
  /** Whether advantages get mean 0 and variance 1 over all response tokens. */
  whiten: boolean;
}

/** Tensors [B, T] by name, and `metrics()`. */
type Measurement<Name extends string, Metrics> = TensorGroup<Record<Name, Tensor>> & { metrics(): Promise<Metrics> };

/** reward, advantage and returns [B, T] of a rollout, and `metrics()`. */
export type Judgement = Measurement<'reward' | 'advantage' | 'returns', JudgeMetrics>;

/** Turns scores [B] of a rollout's responses into rewards, advantages and returns. */
export async function judge(rollout: ValuedRollout, score: Values, options: JudgeOptions): Promise<Judgement> {
  checkObject(options, 'judge options');
  const { klWeight, gamma, lambda, whiten } = options;
  return await measure(rollout, VALUED_ROLLOUT, score, (given, scores) =>
    addon().judge(given, scores, { klWeight, gamma, lambda, whiten }),
  );
}

/** What `groupAdvantages` measures. */
export interface GroupMetrics extends ScoreMetrics {
  /** Mean over prompts of the deviation of their scores. */
  scoreStd: number;
  /** Share of prompts whose responses have the same reward all: nothing is learned from them. */
  zeroStdShare: number;
}

export interface GroupOptions {
  /** Responses to a prompt, which are neighbouring rows. */
  samplesPerPrompt: number;
  /** Cost of KL to the reference policy, per nat. */
  klWeight: number;
  /** Whether advantages are divided by the deviation of their group. */
  scale: boolean;
}

/** advantage [B, T] of a rollout, and `metrics()`. */
export type GroupAdvantages = Measurement<'advantage', GroupMetrics>;

/**
 * How much better each response is than the others to its prompt, by scores [B]: one number for all tokens of a response, 0
 * outside. There is no critic.
 * @throws ArgumentError where `samplesPerPrompt` does not divide the rows.
 */
export async function groupAdvantages(
  rollout: Rollout,
  score: Values,
  options: GroupOptions,
): Promise<GroupAdvantages> {
  checkObject(options, 'groupAdvantages options');
  const { samplesPerPrompt, klWeight, scale } = options;
  return await measure(rollout, ROLLOUT, score, (given, scores) =>
    addon().groupAdvantages(given, scores, { samplesPerPrompt, klWeight, scale }),
  );
}

const VALUED_ROLLOUT = [...ROLLOUT, 'rolloutValue'] as const;

/** What `call` makes of the fields `keys` of a rollout and of scores [B]. */
async function measure<Key extends string, Made extends { metrics: NativeMetrics }, Result>(
  rollout: Readonly<Record<Key | 'rolloutLogProb', Tensor>>,
  keys: readonly Key[],
  score: Values,
  call: (rollout: Record<Key, TensorHandle>, score: TensorHandle) => Promise<Made>,
): Promise<Result> {
  const given = handlesOf(rollout, keys);
  using inputs = new Inputs(rollout.rolloutLogProb.device);
  const scores = inputs.values(score, 'score');
  const used = [...tensorsOf(rollout, keys), ...inputs.used];
  const { metrics, ...made } = await run(used, () => call(given, scores));
  const group = tensorGroup(made);
  const measured = new Measured(metrics);
  const all = [...(Object.values(group) as Tensor[]), measured];
  const dispose = () => {
    for (const each of all) each.dispose();
  };
  // Not enumerable: spreading the group copies its tensors alone.
  return Object.defineProperties(group, {
    metrics: { value: () => measured.read() },
    dispose: { value: dispose },
    [Symbol.dispose]: { value: dispose },
  }) as Result;
}
