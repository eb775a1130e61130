/**
 * Shared by methods that learn from their own answers: answering prompts, scoring the answers, and a few epochs of updates on
 * them.
 */
import type { PpoConfig } from '../config/ppo.ts';
import type { Batches } from '../data/batches.ts';
import { having, instanceOf, LIST, LISTS, optional, SIGNAL, WHOLE } from '../checks/kinds.ts';
import { ArgumentError, NumericsError, ShapeError } from '../errors.ts';
import { Mean } from '../metrics/mean.ts';
import type { Sample } from '../metrics/metrics.ts';
import type { Policy } from '../models/policy.ts';
import { Optimizer } from '../optim.ts';
import type { Loss } from '../tensor/loss.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { checkSpecialTokens, checkTokens } from './check-tokens.ts';
import { MicroBatch } from './out-of-memory.ts';
import { BATCHES, itemsAt, REWARD } from './parts.ts';
import { scoresOf } from './rewards.ts';
import {
  type Answer,
  answersOf,
  applyMissingEosPenalty,
  chunks,
  collect,
  type Ending,
  ended,
  minibatches,
  type Reward,
} from './rollouts.ts';
import { RunningScores, scoreNorm, scoreNormOf } from './score-norm.ts';
import { update } from './update.ts';

/** What all such methods need, apart from the policy. */
export interface OnPolicyParts extends Ending {
  /** Scores the answers: a reward model, or any function of answers. */
  reward: Reward;
  /** Token ids of every prompt. */
  prompts: readonly (readonly number[])[];
  /** What the row of each prompt has besides it, for reward functions. */
  meta?: readonly Readonly<Record<string, unknown>>[] | undefined;
  /** Selects the next prompts: indices into `prompts`, `config.rolloutBatch` at a time. */
  batches: Batches;
  /** The optimizer of the policy's parameters. */
  optimizer: Optimizer;
  /** Token that ends a response; if it and `stop` are omitted, every response runs to `maxNewTokens`. */
  eosToken?: number | undefined;
  /** Token sequences that each end a response, like the eos. */
  stop?: number[][] | undefined;
  padToken?: number | undefined;
  /** Decodes texts for reward functions. */
  tokenizer?: Pick<Tokenizer, 'decode'> | undefined;
  /** Number of answers that each step shows as `samples`; defaults to 0. */
  samples?: number | undefined;
  /** Statistics of the scores so far; needed to resume when `config.score.norm` is, or resolves to, `running`. */
  runningScores?: RunningScores | undefined;
  /**
   * Cancels a rollout, or the wait for a reward function. On abort only the position in `batches` has advanced; the signal's
   * reason is thrown.
   */
  signal?: AbortSignal | undefined;
}

/** The kinds of `OnPolicyParts`, for `checkKinds`. */
export const ON_POLICY_PARTS = {
  reward: REWARD,
  prompts: LISTS,
  meta: optional(LIST),
  batches: BATCHES,
  optimizer: instanceOf(Optimizer),
  stop: optional(LISTS),
  signal: optional(SIGNAL),
  samples: optional(WHOLE),
  runningScores: optional(having('a RunningScores', 'update')),
};

/** The metrics of an iteration that all such methods have. */
export interface OnPolicyStep {
  /** Iterations done, from 1. */
  step: number;
  /** Raw score, before normalisation and penalties, averaged over responses. */
  score: number;
  /** The mean raw score of each of several rewards, by its name. */
  readonly [part: `score.${string}`]: number;
  /** Normalised score minus the KL penalty, averaged over responses. */
  reward: number;
  /** log p of a response minus that of the reference policy, in nats, averaged over responses; undefined without a reference. */
  kl: number | undefined;
  /** Mean number of tokens in a response. */
  responseLength: number;
  /** Share of responses that ended with the eos or a stop sequence. */
  eosShare: number;
  gradNorm: number;
  learningRate: number;
  /** Number of updates whose loss or gradient was not finite: they left the weights unchanged. */
  skipped: number;
  /** Reduced micro-batch size after running out of memory, in responses; otherwise undefined. */
  microBatch: number | undefined;
  /** Epochs started; fewer than configured if stopped early by approxKlStop. */
  epochs: number;
  /** Largest |log ratio| in the first minibatch, before any update: 0 except for rounding. */
  firstLogRatio: number;
  /** Largest difference between a log-probability as the sampler saw it and as training computes it. */
  samplerGap: number;
  /** Some of the answers; undefined unless `parts.samples` asks for them. */
  samples: Sample[] | undefined;
  timing: { seconds: number; rolloutSeconds: number; tokensPerSecond: number };
}

/** What the iterations of a run share, apart from its parts. */
export interface RunState {
  microBatch: MicroBatch;
  normalise: (scores: readonly number[]) => number[];
}

/** The state of a run before its first iteration. */
export function runStateOf(
  { reward, runningScores = new RunningScores() }: OnPolicyParts,
  { minibatchSize, score }: Pick<PpoConfig, 'minibatchSize' | 'score'>,
): RunState {
  return { microBatch: new MicroBatch(minibatchSize), normalise: scoreNorm(reward, score, runningScores) };
}

/** The fields of a configuration that are used to answer and score. */
type ScoringConfig = Pick<PpoConfig, 'sampling' | 'minibatchSize' | 'seed' | 'score'>;

/** Answers to a batch of prompts, row by row. Dispose of it. */
export interface Scored<Rolled extends Disposable> extends Disposable {
  rollout: Rolled;
  answers: Answer[];
  /** Number of tokens in each response. */
  lengths: number[];
  /** Raw scores, before normalisation and penalties. */
  scores: number[];
  /** What each of several rewards made of the answers, by name. */
  byReward: Readonly<Record<string, number[]>>;
  /** Scores [B] to learn from: normalised, minus the missing-eos penalty. */
  normalised: Tensor;
  rolloutSeconds: number;
}

/** Answers the next batch of prompts with `policy` and scores the answers. */
export async function answerAndScore<Who extends Policy>(
  policy: Who,
  parts: OnPolicyParts,
  config: ScoringConfig,
  step: number,
  normalise: (scores: readonly number[]) => number[],
): Promise<Scored<Awaited<ReturnType<Who['rollout']>>>> {
  const began = performance.now();
  const numbers = parts.batches.next();
  const prompts = itemsAt(parts.prompts, numbers, 'prompts');
  const meta = parts.meta && itemsAt(parts.meta, numbers, 'meta');
  const rollout = await collect(policy, prompts, parts, config, step);
  try {
    const answers = await answersOf(rollout, prompts, config.sampling.samplesPerPrompt, parts.tokenizer, meta);
    const rolloutSeconds = (performance.now() - began) / 1000;
    const { sequence } = rollout;
    const scoring = { size: config.minibatchSize, timeout: config.score.timeout, signal: parts.signal, sequence };
    const { scores, parts: byReward } = await scoresOf(parts.reward, answers, scoring);
    const normalised = applyMissingEosPenalty(normalise(scores), answers, parts, config.score.missingEosPenalty);
    const dispose = () => {
      rollout.dispose();
      normalised.dispose();
    };
    const lengths = answers.map(({ response }) => response.length);
    return { rollout, answers, lengths, scores, byReward, normalised, rolloutSeconds, [Symbol.dispose]: dispose };
  } catch (error) {
    rollout.dispose();
    throw error;
  }
}

/** The metrics of the answers themselves. */
export function answerMetrics(
  { answers, scores, byReward }: Pick<Scored<Disposable>, 'answers' | 'scores' | 'byReward'>,
  ending: Ending,
) {
  const parts = Object.entries(byReward).map(([name, part]) => [`score.${name}`, sum(part) / part.length]);
  return {
    score: sum(scores) / scores.length,
    parts: Object.fromEntries(parts) as Readonly<Record<`score.${string}`, number>>,
    eosShare: answers.filter((answer) => ended(answer, ending)).length / answers.length,
  };
}

/**
 * Checks prompts and special tokens before the first step.
 * @throws ArgumentError for a token that the model does not have.
 * @throws ShapeError for an empty prompt.
 */
export function checkPrompts(policy: Policy, { prompts, eosToken, padToken }: OnPolicyParts): void {
  const { numTokens } = policy.model.decoder;
  checkSpecialTokens({ eosToken, padToken }, numTokens);
  for (const [row, prompt] of prompts.entries()) {
    if (prompt.length === 0)
      throw new ShapeError({ argument: `prompts[${row}]`, received: 'no tokens', expected: 'at least one' });
    checkTokens(prompt, numTokens, (t) => `prompts[${row}][${t}]`);
  }
}

/** @throws ArgumentError for missing parts that would otherwise be silently ignored. */
export function checkOnPolicyParts(
  policy: Policy,
  parts: OnPolicyParts,
  { klWeight, score }: Pick<PpoConfig, 'klWeight' | 'score'>,
  start: number,
): void {
  if (klWeight > 0 && !policy.hasReference)
    throw missing(
      'policy.reference',
      'a reference policy, because klWeight > 0: create the policy with { reference: true }',
    );
  if (start > 0 && parts.runningScores === undefined && scoreNormOf(parts.reward, score) === 'running')
    throw missing('runningScores', 'the RunningScores of the earlier steps, or score.norm none or reference');
}

/** The error for a missing part `argument`. */
export function missing(argument: string, expected: string): ArgumentError {
  return new ArgumentError({ argument: `parts.${argument}`, received: 'nothing', expected });
}

/** The fields of a configuration that are used for updates. */
type PassesConfig = Pick<
  PpoConfig,
  'epochs' | 'minibatchSize' | 'accumulate' | 'approxKlStop' | 'maxGradNorm' | 'maxSkippedSteps' | 'seed' | 'steps'
>;

/** The metrics that the loss of every such method has. */
type PolicyMetric = 'approxKl' | 'maxLogRatio';

/** The results of the epochs of an iteration. */
export interface Passes<Name extends string> {
  /** Averaged over updates. */
  means: Record<Exclude<Name, 'maxLogRatio'> | 'gradNorm', number>;
  /** Number of updates whose loss or gradient was not finite: they were skipped. */
  skipped: number;
  /** Epochs started. */
  epochs: number;
  /** Largest |log ratio| in the first minibatch. */
  firstLogRatio: number;
}

/**
 * Runs epochs over the same rows, in shuffled minibatches, until the policy has moved `approxKlStop` nats per token. `lossOf`
 * computes the loss of some rows: the sum over them divided by the denominator, which is `countOf` all rows of the update.
 * @throws NumericsError if every update of the last step was skipped.
 */
export async function learnInPasses<Name extends string>(
  { optimizer, microBatch }: { optimizer: Optimizer; microBatch: MicroBatch },
  config: PassesConfig,
  { step, rows, countOf }: { step: number; rows: number; countOf: (rows: readonly number[]) => number },
  lossOf: (rows: readonly number[], denominator: number) => Promise<Loss<Name | PolicyMetric>>,
): Promise<Passes<Name>> {
  const { maxGradNorm, maxSkippedSteps: maxSkipped } = config;
  const approxKlStop = config.approxKlStop || Number.POSITIVE_INFINITY;
  const updates = new Mean<Name | PolicyMetric | 'gradNorm'>();
  let firstLogRatio: number | undefined;
  let nonFinite: string | undefined;
  let skipped = 0;
  let count = 0;
  let epochs = 0;
  // `approxKl` compares the policy before the latest update with the one that sampled the answers.
  for (let approxKl = 0; epochs < config.epochs && !(approxKl > approxKlStop); epochs++) {
    const batches = minibatches(rows, config.minibatchSize, config, step, epochs);
    for (const group of chunks(batches, config.accumulate)) {
      const limits = { denominator: countOf(group.flat()), maxGradNorm, maxSkipped };
      const { pieces, gradNorm, ...result } = await update({ optimizer, microBatch }, group, limits, lossOf);
      const sums = new Mean<Name | PolicyMetric>();
      for (const { metrics } of pieces) sums.add(metrics);
      const total = sums.sum();
      firstLogRatio ??= pieces[0]?.metrics.maxLogRatio;
      skipped += Number(result.skipped);
      nonFinite ??= result.nonFinite;
      count++;
      updates.add({ ...total, gradNorm });
      approxKl = total.approxKl;
      if (approxKl > approxKlStop) break;
    }
  }
  if (nonFinite !== undefined && skipped === count && step + 1 === config.steps)
    throw allUpdatesSkipped(nonFinite, count);
  const { maxLogRatio: _, ...means } = updates.result();
  return { means: means as Passes<Name>['means'], skipped, epochs, firstLogRatio: firstLogRatio ?? 0 };
}

function allUpdatesSkipped(nonFinite: string, updates: number): NumericsError {
  return new NumericsError({
    argument: nonFinite,
    received: `non-finite numbers in all ${updates} updates of the last step`,
    expected: 'finite numbers',
    fix: 'Lower lr and resume from an earlier checkpoint; check the initial model and the reward.',
  });
}

/** The sum of `values`, 0 for none. */
export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
