/** Losses and reductions over tensors: they take tensors, never a model. docs/ppo.md has the formulas. */
import type { Evaluation, Experience, Rollout } from './models/actor-critic.ts';
import { ArgumentError, printable } from './errors.ts';
import { Inputs, type Mask, type Values } from './tensor/arguments.ts';
import { addon, type TensorHandle } from './native/addon.ts';
import { checkObject } from './checks/options.ts';
import { handleOf, run } from './native/resource.ts';
import { Loss, Measured } from './tensor/loss.ts';
import { Tensor, type TensorGroup, tensorGroup } from './tensor/tensor.ts';

/** What `ppoLoss` measures, over the response tokens that it was given. */
export interface PpoMetrics {
  policyLoss: number;
  valueLoss: number;
  entropy: number;
  /** Estimate of the KL from the policy of the rollout to the current one, in nats per token. */
  approxKl: number;
  /** Share of tokens whose probability ratio the loss clipped, and of those whose value it did. */
  clipFraction: number;
  valueClipFraction: number;
  /** Largest |log ratio|. */
  maxLogRatio: number;
}

export interface PpoLossOptions {
  /** The probability ratio counts only within 1 ± clip. */
  clip: number;
  /** How far a value may move from that of the rollout. */
  valueClip: number;
  valueWeight: number;
  entropyWeight: number;
  /** What sums over response tokens are divided by; their number unless given. */
  denominator?: number;
}

/**
 * Clipped policy loss, clipped value loss and entropy bonus of PPO, one scalar. `now` has what the current weights say of
 * `experience`, all [B, T].
 */
export async function ppoLoss(
  now: Evaluation,
  experience: Experience,
  options: PpoLossOptions,
): Promise<Loss<keyof PpoMetrics>> {
  checkObject(options, 'ppoLoss options');
  const { clip, valueClip, valueWeight, entropyWeight, denominator } = options;
  const evaluation = handles(now, EVALUATION);
  const given = handles(experience, EXPERIENCE);
  const weights = { clip, valueClip, valueWeight, entropyWeight };
  const used = [...tensorsOf(now, EVALUATION), ...tensorsOf(experience, EXPERIENCE)];
  return new Loss(await run(used, () => addon().ppoLoss(evaluation, given, weights, denominator)));
}

/** What `judge` measures. All but the last two are means over rows. */
export interface JudgeMetrics {
  /** To the reference policy, in nats per response. */
  kl: number;
  score: number;
  /** Of a response, summed over its tokens. */
  reward: number;
  /** Tokens of a response. */
  responseLength: number;
  /** Share of the returns' variance that the values explain. */
  explainedVariance: number;
  /** Largest difference between a log-probability that the sampler saw and the one that training computes. */
  samplerGap: number;
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

/** reward, advantage and returns [B, T] of a rollout, and `metrics()`. */
export type Judgement = TensorGroup<{ reward: Tensor; advantage: Tensor; returns: Tensor }> & {
  metrics(): Promise<JudgeMetrics>;
};

/** Turns scores [B] of a rollout's responses into rewards, advantages and returns. */
export async function judge(rollout: Rollout, score: Values, options: JudgeOptions): Promise<Judgement> {
  checkObject(options, 'judge options');
  const { klWeight, gamma, lambda, whiten } = options;
  const given = handles(rollout, ROLLOUT);
  using inputs = new Inputs(rollout.rolloutLogProb.device);
  const scores = inputs.values(score, 'score');
  const used = [...tensorsOf(rollout, ROLLOUT), ...inputs.used];
  const { metrics, ...fields } = await run(used, () =>
    addon().judge(given, scores, { klWeight, gamma, lambda, whiten }),
  );
  return withMetrics(tensorGroup(fields), new Measured(metrics));
}

// Not enumerable: spreading a judgement copies its tensors alone.
function withMetrics(group: Omit<Judgement, 'metrics'>, measured: Measured<keyof JudgeMetrics>): Judgement {
  const dispose = () => {
    for (const tensor of [group.reward, group.advantage, group.returns, measured]) tensor.dispose();
  };
  return Object.defineProperties(group, {
    metrics: { value: () => measured.read() },
    dispose: { value: dispose },
    [Symbol.dispose]: { value: dispose },
  }) as Judgement;
}

/** The rows `rows` of an experience, as copies; see `tensorGroup` for how to spread them. */
export async function experienceRows(
  experience: Experience,
  rows: readonly number[],
): Promise<TensorGroup<Experience>> {
  const given = handles(experience, EXPERIENCE);
  if (!Array.isArray(rows)) {
    throw new ArgumentError({ argument: 'rows', received: printable(rows), expected: 'an array of row numbers' });
  }
  return tensorGroup(await run(tensorsOf(experience, EXPERIENCE), () => addon().rolloutRows(given, [...rows])));
}

/** The mean of every row of values [B, T] where `mask` [B, T] is true, [B]; 0 for a row without a true entry. */
export function maskedMean(values: Tensor, mask?: Mask): Promise<Tensor> {
  return reduce(values, mask, (handle, maskHandle) => addon().maskedMean(handle, maskHandle));
}

/** Values brought to mean 0 and variance 1 over the entries where `mask` is true; 0 elsewhere. */
export function whiten(values: Tensor, mask?: Mask): Promise<Tensor> {
  return reduce(values, mask, (handle, maskHandle) => addon().whiten(handle, maskHandle));
}

/** Entropy in nats of the distribution that logits [..., V] stand for, at every place. */
export function entropy(logits: Tensor): Promise<Tensor> {
  return reduce(logits, undefined, (handle) => addon().entropy(handle));
}

async function reduce(
  values: Tensor,
  mask: Mask | undefined,
  call: (values: TensorHandle, mask: TensorHandle | undefined) => Promise<TensorHandle>,
): Promise<Tensor> {
  handleOf(values, 'values');
  using inputs = new Inputs(values.device);
  const maskHandle = mask === undefined ? undefined : inputs.mask(mask, 'mask');
  return new Tensor(await run([values, ...inputs.used], () => call(handleOf(values, 'values'), maskHandle)));
}

const EVALUATION = ['logProb', 'entropy', 'value'] as const;
const ROLLOUT = [
  'sequence',
  'responseMask',
  'samplerLogProb',
  'rolloutLogProb',
  'referenceLogProb',
  'rolloutValue',
] as const;
const EXPERIENCE = [...ROLLOUT, 'advantage', 'returns'] as const;

function handles<Key extends string>(fields: Record<Key, Tensor>, keys: readonly Key[]): Record<Key, TensorHandle> {
  const entries = keys.map((key) => [key, handleOf(fields?.[key], key)]);
  return Object.fromEntries(entries) as Record<Key, TensorHandle>;
}

function tensorsOf<Key extends string>(fields: Record<Key, Tensor>, keys: readonly Key[]): Tensor[] {
  return keys.map((key) => fields[key]);
}
