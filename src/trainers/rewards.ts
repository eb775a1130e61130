/** Asking a reward for scores: whatever a reward function does, the run ends in time and with the answer at fault. */
import { padRight } from '../data/prompts.ts';
import { NumericsError, printable, RewardError } from '../errors.ts';
import { RewardModel } from '../models/reward-model.ts';
import { narrow } from '../tensor/slice.ts';
import { Tensor } from '../tensor/tensor.ts';
import { type Answer, chunks, type Reward, type RewardFunction } from './rollouts.ts';

export interface ScoreOptions {
  /** Answers that a reward model reads at a time. */
  size: number;
  /** The rows that have the answers already, in their order [B, T]; a reward model reads them where they lie. */
  sequence?: Tensor | undefined;
  /** Seconds that a reward function may take. One that never gives the thread back cannot be interrupted. */
  timeout: number;
  /** Ends the waiting; its reason is thrown. */
  signal?: AbortSignal | undefined;
}

/** What fills rows for a reward model up: their lengths tell that it is none of theirs. */
export const PADDING = 0;

/**
 * A finite number for each of `answers`, from a reward model or a function.
 * @throws RewardError for a function that fails, takes too long or gives anything else, NumericsError for a model whose scores
 * are not finite, and the signal's reason once it is aborted.
 */
export async function scoresOf(reward: Reward, answers: readonly Answer[], options: ScoreOptions): Promise<number[]> {
  options.signal?.throwIfAborted();
  return reward instanceof RewardModel
    ? await scoresOfModel(reward, answers, options)
    : checkScores(await ask(reward, answers, options), answers);
}

/** The same of a reward model. */
export async function scoresOfModel(
  reward: RewardModel,
  answers: readonly Answer[],
  { size, sequence, signal }: Omit<ScoreOptions, 'timeout'>,
): Promise<number[]> {
  const scores: number[] = [];
  for (const piece of chunks(answers, size)) {
    using rows = await rowsOf(piece, sequence, scores.length);
    scores.push(...(await readScores(reward, rows, piece)));
    signal?.throwIfAborted();
  }
  const bad = scores.findIndex((score) => !Number.isFinite(score));
  if (bad < 0) return scores;
  throw new NumericsError({
    argument: `score[${bad}]`,
    received: `${scores[bad]} for ${shown(answers[bad] as Answer)}`,
    expected: 'a finite number from the reward model',
    fix: 'One of its weights is not finite: train it again with a lower lr, or load an earlier checkpoint.',
  });
}

/** Prompts and responses as rows, up to the longest: cut out of `sequence`, from the row `first` on, or else made. */
async function rowsOf(answers: readonly Answer[], sequence: Tensor | undefined, first: number): Promise<Tensor> {
  if (sequence === undefined) {
    const tokens = answers.map(({ prompt, response }) => [...prompt, ...response]);
    const rows = padRight(tokens, PADDING);
    return Tensor.from(rows.tokens, { shape: rows.shape });
  }
  using rows = await narrow(sequence, { dim: 0, start: first, length: answers.length });
  return await narrow(rows, { dim: 1, start: 0, length: Math.max(...answers.map(lengthOf)) });
}

async function readScores(reward: RewardModel, rows: Tensor, answers: readonly Answer[]): Promise<number[]> {
  const promptLengths = answers.map(({ prompt }) => prompt.length);
  using score = await reward.score(rows, { promptLengths, lengths: answers.map(lengthOf) });
  return Array.from(await score.data(), Number);
}

function lengthOf({ prompt, response }: Answer): number {
  return prompt.length + response.length;
}

/** What a reward function gives, if it gives something in time. */
async function ask(
  reward: RewardFunction,
  answers: readonly Answer[],
  { timeout, signal }: ScoreOptions,
): Promise<unknown> {
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => reject(tooLate(answers, timeout)), timeout * 1000);
    const abort = () => reject((signal as AbortSignal).reason);
    signal?.addEventListener('abort', abort, { once: true });
    stop = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
  });
  try {
    return await Promise.race([callReward(reward, answers), stopped]);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    stop();
  }
}

async function callReward(reward: RewardFunction, answers: readonly Answer[]): Promise<unknown> {
  try {
    return await reward([...answers]); // it may sort them
  } catch (cause) {
    const received = printable(cause instanceof Error ? `${cause.name}: ${cause.message}` : cause);
    throw new RewardError({ argument: 'reward', received, expected: wanted(answers), cause });
  }
}

function tooLate(answers: readonly Answer[], timeout: number): RewardError {
  return new RewardError({
    argument: 'reward',
    received: `nothing within ${timeout} s`,
    expected: wanted(answers),
    fix: 'Give it more time with rewardTimeout, or let it give up on answers by itself.',
  });
}

function checkScores(scores: unknown, answers: readonly Answer[]): number[] {
  if (!Array.isArray(scores) || scores.length !== answers.length) {
    throw new RewardError({
      argument: 'reward',
      received: Array.isArray(scores) ? `${scores.length} scores` : printable(scores),
      expected: wanted(answers),
      fix: 'Return an array, or a promise of one, in the order of the answers.',
    });
  }
  // What is too large for float32 would be infinite in the rollout.
  const bad = scores.findIndex((score) => typeof score !== 'number' || !Number.isFinite(Math.fround(score)));
  if (bad < 0) return [...scores];
  throw new RewardError({
    argument: `reward[${bad}]`,
    received: `${printable(scores[bad])} for ${shown(answers[bad] as Answer)}`,
    expected: 'a number that is finite in float32',
    fix: 'Give every answer a number, those that cannot be judged too.',
  });
}

function wanted(answers: readonly Answer[]): string {
  return `an array of ${answers.length} finite numbers, one for each answer`;
}

/** An answer in a few words or tokens. */
function shown({ prompt, response, promptText, responseText }: Answer): string {
  return `the answer ${printable(responseText ?? response)} to ${printable(promptText ?? prompt)}`;
}
