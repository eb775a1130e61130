/**
 * What methods share that learn from answers of their own: answering prompts, having the answers scored, and a few passes over
 * what came of it.
 */
import type { PpoConfig } from '../config/ppo.ts';
import type { Batches } from '../data/batches.ts';
import { ArgumentError, NumericsError, ShapeError } from '../errors.ts';
import { Mean } from '../metrics/mean.ts';
import type { Policy } from '../models/policy.ts';
import type { Optimizer } from '../optim.ts';
import type { Loss } from '../tensor/loss.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { checkSpecialTokens, checkTokens } from './check-tokens.ts';
import type { MicroBatch } from './out-of-memory.ts';
import { itemsAt } from './parts.ts';
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
import { type RunningScores, scoreNormOf } from './score-norm.ts';
import { update } from './update.ts';

/** What all such methods work with, besides the policy. */
export interface OnPolicyParts extends Ending {
  /** A reward model, or any function of answers. */
  reward: Reward;
  /** Token ids of every prompt. */
  prompts: readonly (readonly number[])[];
  /** Which prompts come next: indices into `prompts`, `config.rolloutBatch` at a time. */
  batches: Batches;
  /** Over the parameters of the policy. */
  optimizer: Optimizer;
  /** Ends a response; without one all have `maxNewTokens`. */
  eosToken?: number | undefined;
  /** Token sequences any of which ends a response, as the eos does. */
  stop?: number[][] | undefined;
  padToken?: number | undefined;
  /** Gives reward functions the texts. */
  tokenizer?: Pick<Tokenizer, 'decode'> | undefined;
  /** What the scores of earlier iterations were, where `config.score.norm` is or comes to be `running`. */
  runningScores?: RunningScores | undefined;
  /**
   * Ends a rollout, or the waiting for a reward function; the iteration has changed nothing then but the place in `batches`, and
   * its reason is thrown.
   */
  signal?: AbortSignal | undefined;
}

/** What is read of a configuration to answer and score. */
type ScoringConfig = Pick<
  PpoConfig,
  'sampling' | 'minibatchSize' | 'rolloutLogProb' | 'seed' | 'rewardTimeout' | 'missingEosPenalty'
>;

/** Answers to a batch of prompts, row by row. Dispose of it. */
export interface Scored<Rolled extends Disposable> extends Disposable {
  rollout: Rolled;
  answers: Answer[];
  /** Tokens of each response. */
  lengths: number[];
  /** As they were given. */
  scores: number[];
  /** Scores [B] that count: normalised, less the penalty of what did not end. */
  normalised: Tensor;
  rolloutSeconds: number;
}

/** Answers the next batch of prompts with `policy` and has the answers scored. */
export async function answerAndScore<Who extends Policy>(
  policy: Who,
  parts: OnPolicyParts,
  config: ScoringConfig,
  step: number,
  normalise: (scores: readonly number[]) => number[],
): Promise<Scored<Awaited<ReturnType<Who['rollout']>>>> {
  const began = performance.now();
  const prompts = itemsAt(parts.prompts, parts.batches.next(), 'prompts');
  const rollout = await collect(policy, prompts, parts, config, step);
  try {
    const answers = await answersOf(rollout, prompts, config.sampling.samplesPerPrompt, parts.tokenizer);
    const rolloutSeconds = (performance.now() - began) / 1000;
    const { sequence } = rollout;
    const asking = { size: config.minibatchSize, timeout: config.rewardTimeout, signal: parts.signal, sequence };
    const scores = await scoresOf(parts.reward, answers, asking);
    const normalised = applyMissingEosPenalty(normalise(scores), answers, parts, config.missingEosPenalty);
    const dispose = () => {
      rollout.dispose();
      normalised.dispose();
    };
    const lengths = answers.map(({ response }) => response.length);
    return { rollout, answers, lengths, scores, normalised, rolloutSeconds, [Symbol.dispose]: dispose };
  } catch (error) {
    rollout.dispose();
    throw error;
  }
}

/** What is told of the answers themselves. */
export function answerMetrics({ answers, scores }: Pick<Scored<Disposable>, 'answers' | 'scores'>, ending: Ending) {
  return {
    score: sum(scores) / scores.length,
    eosShare: answers.filter((answer) => ended(answer, ending)).length / answers.length,
  };
}

/** @throws ArgumentError before the first step for a token that the model does not have, ShapeError for an empty prompt. */
export function checkPrompts(policy: Policy, { prompts, eosToken, padToken }: OnPolicyParts): void {
  const { numTokens } = policy.model.decoder;
  checkSpecialTokens({ eosToken, padToken }, numTokens);
  for (const [row, prompt] of prompts.entries()) {
    if (prompt.length === 0)
      throw new ShapeError({ argument: `prompts[${row}]`, received: 'no token', expected: 'at least one' });
    checkTokens(prompt, numTokens, (t) => `prompts[${row}][${t}]`);
  }
}

/** @throws ArgumentError for parts that are missing and would otherwise be left out without a word. */
export function checkOnPolicyParts(
  policy: Policy,
  parts: OnPolicyParts,
  { klWeight, score }: Pick<PpoConfig, 'klWeight' | 'score'>,
  start: number,
): void {
  if (klWeight > 0 && !policy.hasReference)
    throw missing('policy.reference', 'a reference policy for klWeight: one made with { reference: true }');
  if (start > 0 && parts.runningScores === undefined && scoreNormOf(parts.reward, score) === 'running')
    throw missing('runningScores', 'the RunningScores of the steps before, or a score.norm of none or reference');
}

/** The error that part `argument` is not there. */
export function missing(argument: string, expected: string): ArgumentError {
  return new ArgumentError({ argument: `parts.${argument}`, received: 'nothing', expected });
}

/** What is read of a configuration to learn. */
type PassesConfig = Pick<
  PpoConfig,
  'epochs' | 'minibatchSize' | 'accumulate' | 'approxKlStop' | 'maxGradNorm' | 'maxSkippedSteps' | 'seed' | 'steps'
>;

/** What every loss of such a method measures. */
type PolicyMetric = 'approxKl' | 'maxLogRatio';

/** What the passes of an iteration tell. */
export interface Passes<Name extends string> {
  /** Over the updates. */
  means: Record<Exclude<Name, 'maxLogRatio'> | 'gradNorm', number>;
  /** Updates whose loss or gradient was not finite. */
  skipped: number;
  /** Passes begun. */
  epochs: number;
  /** Largest |log ratio| in the first minibatch. */
  firstLogRatio: number;
}

/**
 * Passes over the same rows, in shuffled minibatches, until the policy has moved `approxKlStop` nats per token. `lossOf` gives the
 * loss of some rows, the sum over them divided by the denominator, which is what `countOf` counts in the rows of an update.
 * @throws NumericsError where no update of the last step was finite.
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
  // `approxKl` is that of the policy before the last update to the one that answered.
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
  if (nonFinite !== undefined && skipped === count && step + 1 === config.steps) throw learnedNothing(nonFinite, count);
  const { maxLogRatio: _, ...means } = updates.result();
  return { means: means as Passes<Name>['means'], skipped, epochs, firstLogRatio: firstLogRatio ?? 0 };
}

function learnedNothing(nonFinite: string, updates: number): NumericsError {
  return new NumericsError({
    argument: nonFinite,
    received: `numbers that are not finite in all ${updates} updates of the last step`,
    expected: 'finite ones',
    fix: 'Lower lr and resume from an earlier checkpoint; check the initial model and the reward.',
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
