/**
 * The iteration of all methods that learn from their own answers without a critic: answer prompts, have the answers scored, turn
 * the scores into advantages, learn in a few passes. A method says how it compares answers and what it minimises.
 */
import { checkKinds, instanceOf } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { PolicyLossOptions } from '../checks/policy-options.ts';
import type { CriticFreeConfig } from '../config/critic-free.ts';
import { policyLoss } from '../losses/policy.ts';
import { type LogProb, Policy, type Rollout } from '../models/policy.ts';
import type { Loss } from '../tensor/loss.ts';
import { rowsOf } from '../tensor/rows.ts';
import { type Tensor, type TensorGroup, useDeterministic } from '../tensor/tensor.ts';
import { answerUsefully, type Drawn } from './dynamic-sampling.ts';
import {
  answerAndScore,
  answerMetrics,
  checkOnPolicyParts,
  checkPrompts,
  learnInPasses,
  ON_POLICY_PARTS,
  type OnPolicyParts,
  type OnPolicyStep,
  type PolicyMetric,
  type RunState,
  runStateOf,
  type Scored,
  sum,
  timingOf,
} from './on-policy.ts';
import { rolloutSamples } from './samples.ts';
import { defaultPolicyRate, learningRate } from './schedule.ts';

/** The parts of such a run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface PolicyParts extends OnPolicyParts {
  /** Trained by `optimizer`. */
  policy: Policy;
}

const PARTS = { policy: instanceOf(Policy), ...ON_POLICY_PARTS };

/** What the scores of a rollout say about its answers: tensors with a row for each, and numbers. Dispose of it. */
export interface Comparison<Batch, Measured> extends Disposable {
  batch: Batch;
  /** The rows of the rollout that are learned from, in the order of `batch`. Defaults to all. */
  rows?: readonly number[];
  metrics: Measured & { kl: number };
}

/** Counts of a whole update, that losses of its pieces are divided by. */
export interface Counts {
  /** What `countOf` says. */
  denominator: number;
  /** Response tokens. */
  tokens: number;
}

/** What a method adds to the iteration that all share. */
export interface CriticFreeMethod<Config, Batch, Measured, Metric extends string, Now extends LogProb = LogProb> {
  /** Weight of the KL penalty; above 0, the policy needs a reference. */
  klWeight(config: Config): number;
  /** Compares the answers of an iteration. */
  compare(parts: PolicyParts, config: Config, scored: Scored<Rollout>): Promise<Comparison<Batch, Measured>>;
  /** What the policy now says of some rows of the comparison; their log-probabilities unless given. */
  evaluate?(batch: Batch, temperature: number): Promise<TensorGroup<Now>>;
  /** What the losses of answers of these lengths are divided by. */
  countOf(lengths: readonly number[], config: Config): number;
  /** The loss of some rows of the comparison, in an update of responses of these `lengths`. */
  lossOf(
    now: Now,
    batch: Batch,
    config: Config,
    counts: Counts,
    lengths: readonly number[],
  ): Promise<Loss<Metric | PolicyMetric>>;
  /** Rows that stay together in a minibatch. Defaults to 1. */
  rowsTogether?(config: Config): number;
  /** The order in which the loss takes rows that stay together; as they are unless given. */
  arrange?(rows: readonly number[]): number[];
  /** Whether every prompt is also answered greedily, and that answer scored. */
  greedy?: boolean;
  /** Whether prompts whose answers are all equally good are replaced by others. */
  dynamic?(config: Config): boolean;
}

/** The metrics of an iteration. Fields computed during updates (loss, gradNorm, …) are averaged over updates. */
export type CriticFreeStep<Measured, Metric extends string> = OnPolicyStep &
  Partial<Drawn> &
  Measured &
  Record<Exclude<Metric, 'maxLogRatio'>, number>;

/**
 * Trains `parts.policy`, one iteration per step; `start` is the number of steps already done. All native memory of a step is freed
 * before it is yielded.
 * @throws ArgumentError before the first step, for a token that the model does not have or a missing part.
 * @throws RewardError if the reward returns no score for an answer.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive updates are not finite, or no update of the last step is.
 * @throws NumericsError if the policy's logits are not finite.
 */
export async function* trainWithoutCritic<
  Config extends CriticFreeConfig,
  Batch extends Record<keyof Batch, Tensor> & { sequence: Tensor },
  Measured,
  Metric extends string,
  Now extends LogProb,
>(
  name: string,
  method: CriticFreeMethod<Config, Batch, Measured, Metric, Now>,
  parts: PolicyParts,
  config: Config,
  start: number,
): AsyncGenerator<CriticFreeStep<Measured, Metric>> {
  checkKinds(`${name} parts`, parts, PARTS);
  checkInteger(start, 0, 'start');
  if (config.deterministic) await useDeterministic(true);
  checkPrompts(parts.policy, parts);
  checkOnPolicyParts(parts.policy, parts, { klWeight: method.klWeight(config), score: config.score }, start);
  const state = runStateOf(parts, config, method.rowsTogether?.(config));
  for (let step = start; step < config.steps; step++) yield await iterate(method, parts, config, step, state);
}

async function iterate<
  Config extends CriticFreeConfig,
  Batch extends Record<keyof Batch, Tensor> & { sequence: Tensor },
  Measured,
  Metric extends string,
  Now extends LogProb,
>(
  method: CriticFreeMethod<Config, Batch, Measured, Metric, Now>,
  parts: PolicyParts,
  config: Config,
  step: number,
  state: RunState,
): Promise<CriticFreeStep<Measured, Metric>> {
  const { policy, optimizer } = parts;
  const { temperature } = config.sampling;
  const together = method.rowsTogether?.(config) ?? 1;
  optimizer.learningRate = learningRate(step, { ...config, lr: config.lr ?? defaultPolicyRate(policy), minLr: 0 });
  const began = performance.now();

  // Act: answer the prompts, and have the answers scored.
  const { greedy } = method;
  using scored = method.dynamic?.(config)
    ? await answerUsefully(policy, parts, config, step, state.normalise)
    : { ...(await answerAndScore(policy, parts, config, step, state.normalise, { together, greedy })), drawn: {} };
  const { lengths, rolloutSeconds } = scored;

  // Compare: how much better is an answer than others?
  using compared = await method.compare(parts, config, scored);
  const { kl, ...measured } = compared.metrics;

  // Learn: a few passes over shuffled minibatches of the same answers.
  const learnable = compared.rows ?? lengths.map((_, row) => row);
  const lengthsOf = (rows: readonly number[]) => rows.map((row) => lengths[learnable[row] as number] as number);
  const {
    means,
    besideLoss: _,
    ...passes
  } = await learnInPasses<Metric>(
    { optimizer, microBatch: state.microBatch },
    config,
    { step, rows: learnable.length, together, countOf: (rows) => method.countOf(lengthsOf(rows), config) },
    async (rows, denominator, all) => {
      using some = await rowsOf(compared.batch, method.arrange?.(rows) ?? rows);
      const batch = some as object as Batch;
      using now = await (method.evaluate?.(batch, temperature) ?? policy.logProb(some.sequence, { temperature }));
      const counts = { denominator, tokens: sum(lengthsOf(all)) };
      return await method.lossOf(now as LogProb as Now, batch, config, counts, lengthsOf(all));
    },
  );

  const { parts: byReward, ...answered } = answerMetrics(scored, parts);
  return {
    step: step + 1,
    ...(measured as Measured & Pick<OnPolicyStep, 'reward' | 'responseLength' | 'samplerGap'>),
    ...answered,
    ...byReward,
    ...scored.drawn,
    kl: policy.hasReference ? kl : undefined,
    ...means,
    ...passes,
    microBatch: state.microBatch.reduced,
    learningRate: optimizer.learningRate,
    samples: await rolloutSamples(scored, {
      count: parts.samples,
      samplesPerPrompt: config.sampling.samplesPerPrompt,
      reference: policy.hasReference,
      tokenizer: parts.tokenizer,
      learned: compared.rows === undefined ? (compared.batch as { advantage?: Tensor }) : {},
    }),
    timing: timingOf(began, rolloutSeconds, lengths),
  };
}

/** Answers with an advantage for every token, all [B, T]. */
export type AdvantageBatch = Record<'sequence' | 'responseMask' | 'rolloutLogProb' | 'advantage', Tensor>;

/** Advantages of the answers of a rollout, as a comparison. It disposes of them. */
export async function comparisonOf<Measured>(
  { sequence, responseMask, rolloutLogProb }: Rollout,
  found: { advantage: Tensor; metrics(): Promise<Measured & { kl: number }>; dispose(): void },
): Promise<Comparison<AdvantageBatch, Measured>> {
  return {
    batch: { sequence, responseMask, rolloutLogProb, advantage: found.advantage },
    metrics: await found.metrics(),
    [Symbol.dispose]: () => found.dispose(),
  };
}

/** What methods have in common that learn from one advantage per token, by the mean of the policy loss over response tokens. */
export const byAdvantage = {
  klWeight: ({ klWeight }: { klWeight: number }) => klWeight,
  countOf: (lengths: readonly number[]) => sum(lengths),
  lossOf: (now: LogProb, batch: AdvantageBatch, { loss }: { loss: PolicyLossOptions }, counts: Counts) =>
    policyLoss(now, batch, { ...loss, ...counts }),
};
