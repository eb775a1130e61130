/**
 * Shared by methods that learn from their own answers: answering prompts, scoring the answers, and a few epochs of updates on
 * them.
 */
import type { PpoConfig } from '../config/ppo.ts';
import { type EosToken, eosTokensOf } from '../config/sampling.ts';
import type { Batches } from '../data/batches.ts';
import { having, instanceOf, LIST, LISTS, optional, SIGNAL, WHOLE } from '../checks/kinds.ts';
import { ArgumentError, NumericsError, ShapeError } from '../errors.ts';
import { Mean } from '../metrics/mean.ts';
import type { Sample } from '../metrics/metrics.ts';
import type { Policy, Rollout } from '../models/policy.ts';
import { Optimizer } from '../optim.ts';
import type { Loss } from '../tensor/loss.ts';
import { Tensor } from '../tensor/tensor.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { checkSpecialTokens, checkTokens } from './check-tokens.ts';
import { agreementOf, checkName, heldOutScores } from './held-out.ts';
import { MicroBatch } from './out-of-memory.ts';
import { BATCHES, itemsAt, REWARD } from './parts.ts';
import { scoresOf } from './rewards.ts';
import {
  type Answer,
  answersOf,
  chunks,
  collect,
  type Ending,
  ended,
  greedyAnswers,
  minibatches,
  repetitionOf,
  type Reward,
} from './rollouts.ts';
import { needsRunningScores, RunningScores, scoreNorm } from './score-norm.ts';
import { denseTensor, learnedScores, type Normalise, scoredMask } from './scoring.ts';
import { type Beside, update } from './update.ts';

/** What all such methods need, apart from the policy. */
export interface OnPolicyParts extends Ending {
  /** Scores the answers: a reward model, or any function of answers. */
  reward: Reward;
  /** Scores the answers, too, and nothing is learned from it: the metrics `score.heldOut` and `agreement`. */
  heldOut?: Reward | undefined;
  /** Token ids of every prompt. */
  prompts: readonly (readonly number[])[];
  /** What the row of each prompt has besides it, for reward functions. */
  meta?: readonly Readonly<Record<string, unknown>>[] | undefined;
  /** Selects the next prompts: indices into `prompts`, `config.rolloutBatch` at a time. */
  batches: Batches;
  /** The optimizer of the policy's parameters. */
  optimizer: Optimizer;
  /** Token that ends a response; if it and `stop` are omitted, every response runs to `maxNewTokens`. */
  eosToken?: EosToken | undefined;
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
  heldOut: optional(REWARD),
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
  /** Share of the trigrams of a response that it has before, averaged over responses. */
  repetition: number;
  /** Correlation of the raw scores with those of `heldOut`, over responses; undefined without one, or if scores are all equal. */
  agreement: number | undefined;
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
  normalise: Normalise;
}

/** The state of a run before its first iteration. */
export function runStateOf(
  { reward, runningScores = new RunningScores() }: OnPolicyParts,
  { minibatchSize, score }: Pick<PpoConfig, 'minibatchSize' | 'score'>,
  together = 1,
): RunState {
  return { microBatch: new MicroBatch(minibatchSize, together), normalise: scoreNorm(reward, score, runningScores) };
}

/** The fields of a configuration that are used to answer and score. */
export type ScoringConfig = Pick<PpoConfig, 'sampling' | 'minibatchSize' | 'seed' | 'score'>;

/** Answers to a batch of prompts, row by row. Dispose of it. */
export interface Scored<Rolled extends Rollout> extends Disposable {
  rollout: Rolled;
  answers: Answer[];
  /** The number of each answer's prompt among all prompts. */
  prompts: number[];
  /** Number of tokens in each response. */
  lengths: number[];
  /** Raw scores, before normalisation and penalties; NaN for answers without one, whose responses are masked out. */
  scores: number[];
  /** What each of several rewards made of the answers, by name. */
  byReward: Readonly<Record<string, number[]>>;
  /** Scores [B] to learn from, at the last token: normalised, minus penalties. */
  normalised: Tensor;
  /** Rewards of all tokens besides [B, T], if the reward gives them. */
  dense: Tensor | undefined;
  /** The same as numbers. */
  learned: number[];
  /** The same of the greedy answer to each prompt [prompts], if they were asked for. */
  greedy: Tensor | undefined;
  rolloutSeconds: number;
}

/** What of an iteration's answers a method needs beyond the samples. */
export interface AnswerOptions {
  /** Neighbouring rows that stay together in a minibatch. Defaults to 1. */
  together?: number | undefined;
  /** Whether every prompt is also answered greedily, and that answer scored. */
  greedy?: boolean | undefined;
  /** Which draw of the iteration this is, from 0. */
  draw?: number | undefined;
  /** Whether a reward may also give null, or a number for each token. */
  anyScore?: boolean | undefined;
}

/** What a policy gives of its answers. */
type RolloutOf<Who extends Policy> = Omit<Awaited<ReturnType<Who['rollout']>>, 'dispose' | typeof Symbol.dispose>;

/** Answers the next batch of prompts with `policy` and scores the answers. */
export async function answerAndScore<Who extends Policy>(
  policy: Who,
  parts: OnPolicyParts,
  config: ScoringConfig,
  step: number,
  normalise: Normalise,
  { together, draw, greedy = false, anyScore }: AnswerOptions = {},
): Promise<Scored<RolloutOf<Who>>> {
  const began = performance.now();
  const numbers = parts.batches.next();
  const prompts = itemsAt(parts.prompts, numbers, 'prompts');
  const meta = parts.meta && itemsAt(parts.meta, numbers, 'meta');
  const rollout = await collect(policy, prompts, parts, config, step, { together, draw });
  try {
    const answers = await answersOf(rollout, prompts, config.sampling.samplesPerPrompt, parts.tokenizer, meta);
    const likely = greedy ? await greedyAnswers(policy, prompts, parts, config.sampling, parts.tokenizer, meta) : [];
    const rolloutSeconds = (performance.now() - began) / 1000;
    const { sequence } = rollout;
    const scoring = { size: config.minibatchSize, timeout: config.score.timeout, signal: parts.signal, anyScore };
    const given = { answers, scores: await scoresOf(parts.reward, answers, { ...scoring, sequence }) };
    const others = greedy ? { answers: likely, scores: await scoresOf(parts.reward, likely, scoring) } : undefined;
    const found = learnedScores(given, others, normalise, parts, config);
    const { scores, parts: named } = given.scores;
    const byReward = {
      ...named,
      ...(await heldOutScores(parts.heldOut, answers, { ...scoring, sequence, anyScore: false })),
    };
    const unscored = scores.some(Number.isNaN);
    const tensors = {
      normalised: scoreTensor(found.learned),
      greedy: greedy ? scoreTensor(found.others) : undefined,
      dense: denseTensor(found.dense, answers, sequence),
    };
    const responseMask = unscored ? scoredMask(rollout, answers, scores) : rollout.responseMask;
    const dispose = () => {
      for (const each of [rollout, responseMask, ...Object.values(tensors)]) each?.dispose();
    };
    const lengths = answers.map(({ response }, row) => (Number.isNaN(scores[row]) ? 0 : response.length));
    const places = answers.map((_, row) => numbers[Math.floor(row / config.sampling.samplesPerPrompt)] as number);
    const seen = { answers, prompts: places, lengths, scores, byReward, learned: found.learned, rolloutSeconds };
    const scored = { ...rollout, responseMask } as RolloutOf<Who>;
    return { ...seen, ...tensors, rollout: scored, [Symbol.dispose]: dispose };
  } catch (error) {
    rollout.dispose();
    throw error;
  }
}

/** Scores [B]. */
export function scoreTensor(scores: readonly number[]): Tensor {
  return Tensor.from(Float32Array.from(scores), {});
}

/** The metrics of the answers themselves. */
export function answerMetrics(
  { answers, scores, byReward }: Pick<Scored<Rollout>, 'answers' | 'scores' | 'byReward'>,
  ending: Ending,
) {
  const parts = Object.entries(byReward).map(([name, part]) => [`score.${name}`, meanScore(part)]);
  return {
    score: meanScore(scores),
    parts: Object.fromEntries(parts) as Readonly<Record<`score.${string}`, number>>,
    eosShare: answers.filter((answer) => ended(answer, ending)).length / answers.length,
    repetition: sum(answers.map(({ response }) => repetitionOf(response))) / answers.length,
    agreement: agreementOf(scores, byReward),
  };
}

/** The mean of the scores that are numbers. */
function meanScore(scores: readonly number[]): number {
  const known = scores.filter((score) => !Number.isNaN(score));
  return sum(known) / known.length;
}

/** How long an iteration took that began at `began`. */
export function timingOf(began: number, rolloutSeconds: number, lengths: readonly number[]): OnPolicyStep['timing'] {
  const seconds = (performance.now() - began) / 1000;
  return { seconds, rolloutSeconds, tokensPerSecond: sum(lengths) / rolloutSeconds };
}

/**
 * Checks prompts and special tokens before the first step.
 * @throws ArgumentError for a token that the model does not have.
 * @throws ShapeError for an empty prompt.
 */
export function checkPrompts(policy: Policy, { prompts, eosToken, padToken }: OnPolicyParts): void {
  const { numTokens } = policy.model.decoder;
  for (const token of eosTokensOf(eosToken)) checkSpecialTokens({ eosToken: token }, numTokens);
  checkSpecialTokens({ padToken }, numTokens);
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
  if (parts.heldOut !== undefined) checkName(parts.reward);
  if (start > 0 && parts.runningScores === undefined && needsRunningScores(parts.reward, score))
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
export type PolicyMetric = 'approxKl' | 'maxLogRatio';

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
  /** The loss of the text beside, averaged over updates; 0 without any. */
  besideLoss: number;
}

/** What makes the updates of an iteration. */
interface PassParts {
  optimizer: Optimizer;
  microBatch: MicroBatch;
  /** The next rows of text, whose gradients an update adds. */
  beside?: (() => Beside) | undefined;
  /** Called after an update that changed weights. */
  learned?: (() => Promise<void>) | undefined;
}

/** The rows of an iteration. */
interface PassRows {
  step: number;
  rows: number;
  /** Neighbouring rows that stay together. Defaults to 1. */
  together?: number;
  countOf: (rows: readonly number[]) => number;
}

/**
 * Runs epochs over the same rows, in shuffled minibatches, until the policy has moved `approxKlStop` nats per token. `lossOf`
 * computes the loss of some rows: the sum over them divided by the denominator, which is `countOf` `all` rows of the update.
 * @throws NumericsError if every update of the last step was skipped.
 */
export async function learnInPasses<Name extends string>(
  { optimizer, microBatch, beside, learned }: PassParts,
  config: PassesConfig,
  { step, rows, together = 1, countOf }: PassRows,
  lossOf: (rows: readonly number[], denominator: number, all: readonly number[]) => Promise<Loss<Name | PolicyMetric>>,
): Promise<Passes<Name>> {
  const { maxGradNorm, maxSkippedSteps: maxSkipped } = config;
  const approxKlStop = config.approxKlStop || Number.POSITIVE_INFINITY;
  const updates = new Mean<Name | PolicyMetric | 'gradNorm'>();
  let firstLogRatio: number | undefined;
  let nonFinite: string | undefined;
  let skipped = 0;
  let count = 0;
  let besideLoss = 0;
  let epochs = 0;
  // `approxKl` compares the policy before the latest update with the one that sampled the answers.
  for (let approxKl = 0; epochs < config.epochs && !(approxKl > approxKlStop); epochs++) {
    const batches = minibatches(rows, config.minibatchSize, config, step, epochs, together);
    for (const group of chunks(batches, config.accumulate)) {
      const all = group.flat();
      const limits = { denominator: countOf(all), maxGradNorm, maxSkipped, beside: beside?.() };
      const lose = (some: readonly number[], denominator: number) => lossOf(some, denominator, all);
      const { pieces, gradNorm, ...result } = await update({ optimizer, microBatch }, group, limits, lose);
      if (!result.skipped) await learned?.();
      const sums = new Mean<Name | PolicyMetric>();
      for (const { metrics } of pieces) sums.add(metrics);
      const total = sums.sum();
      firstLogRatio ??= pieces[0]?.metrics.maxLogRatio;
      skipped += Number(result.skipped);
      nonFinite ??= result.nonFinite;
      count++;
      updates.add({ ...total, gradNorm });
      besideLoss += result.besideLoss;
      approxKl = total.approxKl;
      if (approxKl > approxKlStop) break;
    }
  }
  if (nonFinite !== undefined && skipped === count && step + 1 === config.steps)
    throw allUpdatesSkipped(nonFinite, count);
  const { maxLogRatio: _, ...means } = count === 0 ? { gradNorm: 0 } : updates.result();
  const passes = { skipped, epochs, firstLogRatio: firstLogRatio ?? 0 };
  return { means: means as Passes<Name>['means'], besideLoss: besideLoss / Math.max(1, count), ...passes };
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
