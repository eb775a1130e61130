/** Scores answers; enforces a timeout on reward functions, and names the answer that a bad score belongs to. */
import { padRight } from '../data/prompts.ts';
import { NumericsError, printable, RewardError } from '../errors.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import { RewardModel } from '../models/reward-model.ts';
import { narrow } from '../tensor/slice.ts';
import { Tensor } from '../tensor/tensor.ts';
import { CombinedReward, type Judge } from './combined-reward.ts';
import { responseMaskOf } from './response-rows.ts';
import { type Answer, chunks, type Reward, type RewardFunction, type Score } from './rollouts.ts';

export interface ScoreOptions {
  /** Number of answers that a reward model processes at a time. */
  size: number;
  /** The rows [B, T] that already hold the answers, in order; a reward model reads them without a copy. */
  sequence?: Tensor | undefined;
  /** Max seconds per call of a reward function. One that blocks the thread cannot be interrupted. */
  timeout: number;
  /** Ends the wait; its reason is thrown. */
  signal?: AbortSignal | undefined;
  /**
   * Whether a function may also give null for an answer, or a number for each of its tokens, as an ImplicitPRM then does. Defaults
   * to false.
   */
  anyScore?: boolean | undefined;
  /** What errors call the reward. Defaults to `reward`. */
  argument?: string | undefined;
}

/** The scores of answers, and what each of several rewards made of them. */
export interface Scores {
  /** NaN for an answer that a function gave null; the sum for one whose tokens have scores. */
  scores: number[];
  /** The scores of tokens, for the answers that have them. */
  tokens?: (readonly number[] | undefined)[];
  /** By name; empty for a single reward. */
  parts: Readonly<Record<string, number[]>>;
}

/** The token that pads rows for a reward model. It can be any: the lengths of the rows exclude it. */
export const PADDING = 0;

/**
 * A score for each of `answers`, from a reward model, a function, or several of them in turn.
 * @throws RewardError for a function that fails, takes too long or returns anything else.
 * @throws NumericsError for a model whose scores are not finite.
 * @throws the signal's reason once it is aborted.
 */
export async function scoresOf(reward: Reward, answers: readonly Answer[], options: ScoreOptions): Promise<Scores> {
  if (!(reward instanceof CombinedReward)) return { ...(await scoresOfOne(reward, answers, options)), parts: {} };
  const parts: Record<string, number[]> = {};
  for (const { name, reward: one } of reward.rewards) {
    const anyScore = options.anyScore && !(one instanceof ImplicitPRM);
    const found = await scoresOfOne(one, answers, { ...options, anyScore, argument: `reward ${name}` });
    checkWhole(name, found);
    parts[name] = found.scores;
  }
  return { scores: reward.combine(Object.values(parts)), parts };
}

async function scoresOfOne(
  reward: Exclude<Reward, CombinedReward>,
  answers: readonly Answer[],
  options: ScoreOptions,
): Promise<Pick<Scores, 'scores' | 'tokens'>> {
  options.signal?.throwIfAborted();
  if (reward instanceof ImplicitPRM && options.anyScore) {
    const tokens = await tokenRewardsOf(reward, answers, options);
    return { scores: tokens.map(sumOf), tokens };
  }
  if (isJudge(reward)) return { scores: await scoresOfModel(reward, answers, options) };
  const given = checkScores(await ask(reward, answers, options), answers, options);
  const scores = given.map((score) =>
    typeof score === 'object' ? (score === null ? Number.NaN : sumOf(score)) : score,
  );
  if (scores.every(Number.isNaN)) throw noScore(answers, options);
  return { scores, tokens: given.map((score) => (typeof score === 'object' ? (score ?? undefined) : undefined)) };
}

function isJudge(reward: Judge | RewardFunction): reward is Judge {
  return reward instanceof RewardModel || reward instanceof ImplicitPRM;
}

/** A combination has one number for an answer, not one for each token. */
function checkWhole(name: string, { tokens = [] }: Pick<Scores, 'tokens'>): void {
  if (tokens.every((of) => of === undefined)) return;
  const expected = 'one number for each answer, where several rewards are combined';
  throw new RewardError({ argument: `reward ${name}`, received: 'a number for each token', expected });
}

function noScore(answers: readonly Answer[], { argument = 'reward' }: ScoreOptions): RewardError {
  const expected = 'a score for at least one of them';
  return new RewardError({ argument, received: `null for all ${answers.length} answers`, expected });
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** The same for a model. */
export async function scoresOfModel(
  reward: Judge,
  answers: readonly Answer[],
  options: ModelOptions,
): Promise<number[]> {
  const scores = await readAll(answers, options, (rows, piece) => readScores(reward, rows, piece));
  checkFinite(scores, answers, options);
  return scores;
}

/** The rewards of the tokens of each answer. */
export async function tokenRewardsOf(
  reward: ImplicitPRM,
  answers: readonly Answer[],
  options: ModelOptions,
): Promise<number[][]> {
  const rewards = await readAll(answers, options, (rows, piece) => readTokenRewards(reward, rows, piece));
  checkFinite(rewards.map(sumOf), answers, options);
  return rewards;
}

type ModelOptions = Omit<ScoreOptions, 'timeout'>;

/** What `read` gives for all answers, `size` at a time. */
async function readAll<T>(
  answers: readonly Answer[],
  { size, sequence, signal }: ModelOptions,
  read: (rows: Tensor, piece: readonly Answer[]) => Promise<T[]>,
): Promise<T[]> {
  const found: T[] = [];
  for (const piece of chunks(answers, size)) {
    using rows = await rowsOf(piece, sequence, found.length);
    found.push(...(await read(rows, piece)));
    signal?.throwIfAborted();
  }
  return found;
}

function checkFinite(scores: readonly number[], answers: readonly Answer[], { argument }: ModelOptions): void {
  const bad = scores.findIndex((score) => !Number.isFinite(score));
  if (bad < 0) return;
  throw new NumericsError({
    argument: `${argument ?? 'score'}[${bad}]`,
    received: `${scores[bad]} for ${shown(answers[bad] as Answer)}`,
    expected: 'a finite number from the reward model',
    fix: 'Some of its weights are not finite: train it again with a lower lr, or load an earlier checkpoint.',
  });
}

/** Prompts and responses as rows, as wide as the longest: a view of `sequence` from row `first` on, or else a new tensor. */
async function rowsOf(answers: readonly Answer[], sequence: Tensor | undefined, first: number): Promise<Tensor> {
  if (sequence === undefined) {
    const tokens = answers.map(({ prompt, response }) => [...prompt, ...response]);
    const rows = padRight(tokens, PADDING);
    return Tensor.from(rows.tokens, { shape: rows.shape });
  }
  using rows = await narrow(sequence, { dim: 0, start: first, length: answers.length });
  return await narrow(rows, { dim: 1, start: 0, length: Math.max(...answers.map(lengthOf)) });
}

async function readScores(reward: Judge, rows: Tensor, answers: readonly Answer[]): Promise<number[]> {
  if (reward instanceof ImplicitPRM) {
    using mask = responseMaskOf(answers, rows.shape);
    using score = await reward.score(rows, mask);
    return Array.from(await score.data(), Number);
  }
  const promptLengths = answers.map(({ prompt }) => prompt.length);
  using score = await reward.score(rows, { promptLengths, lengths: answers.map(lengthOf) });
  return Array.from(await score.data(), Number);
}

async function readTokenRewards(reward: ImplicitPRM, rows: Tensor, answers: readonly Answer[]): Promise<number[][]> {
  using mask = responseMaskOf(answers, rows.shape);
  using rewards = await reward.tokenRewards(rows, mask);
  const [values, width] = [await rewards.data(), rows.shape[1] as number];
  return answers.map(({ prompt, response }, row) => {
    const first = row * width + prompt.length;
    return Array.from(values.subarray(first, first + response.length), Number);
  });
}

function lengthOf({ prompt, response }: Answer): number {
  return prompt.length + response.length;
}

/** What a reward function returns, if it does so in time. */
async function ask(reward: RewardFunction, answers: readonly Answer[], options: ScoreOptions): Promise<unknown> {
  const { timeout, signal } = options;
  const left = new AbortController();
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => reject(tooLate(answers, options)), timeout * 1000);
    const abort = () => reject((signal as AbortSignal).reason);
    signal?.addEventListener('abort', abort, { once: true });
    stop = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      left.abort();
    };
  });
  try {
    return await Promise.race([callReward(reward, answers, left.signal, options), stopped]);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    stop();
  }
}

async function callReward(
  reward: RewardFunction,
  answers: readonly Answer[],
  signal: AbortSignal,
  { argument = 'reward' }: ScoreOptions,
): Promise<unknown> {
  try {
    return await reward([...answers], signal); // a copy, because the function may reorder it
  } catch (cause) {
    if (cause instanceof RewardError) throw cause;
    const received = printable(cause instanceof Error ? `${cause.name}: ${cause.message}` : cause);
    throw new RewardError({ argument, received, expected: wanted(answers), cause });
  }
}

function tooLate(answers: readonly Answer[], { timeout, argument = 'reward' }: ScoreOptions): RewardError {
  return new RewardError({
    argument,
    received: `nothing within ${timeout} s`,
    expected: wanted(answers),
    fix: 'Raise score.timeout, or let the function give up on slow answers itself.',
  });
}

function checkScores(scores: unknown, answers: readonly Answer[], options: ScoreOptions): Score[] {
  const { argument = 'reward', anyScore = false } = options;
  if (!Array.isArray(scores) || scores.length !== answers.length) {
    throw new RewardError({
      argument,
      received: Array.isArray(scores) ? `${scores.length} scores` : printable(scores),
      expected: wanted(answers),
      fix: 'Return an array, or a promise of one, in the order of the answers.',
    });
  }
  // A score too large for float32 would become infinite in the rollout.
  const bad = scores.findIndex((score, row) => {
    if (!anyScore) return !isScore(score);
    return score !== null && !isScore(score) && !areScores(score, (answers[row] as Answer).response.length);
  });
  if (bad < 0) return [...scores];
  const many = `, null, or ${answers[bad]?.response.length} of them, one for each token`;
  throw new RewardError({
    argument: `${argument}[${bad}]`,
    received: `${printable(scores[bad])} for ${shown(answers[bad] as Answer)}`,
    expected: `a number that is finite in float32${anyScore ? many : ''}`,
    fix: anyScore ? undefined : 'Return a number for every answer, including those that cannot be judged.',
  });
}

function isScore(score: unknown): boolean {
  return typeof score === 'number' && Number.isFinite(Math.fround(score));
}

function areScores(scores: unknown, count: number): boolean {
  return Array.isArray(scores) && scores.length === count && scores.every(isScore);
}

function wanted(answers: readonly Answer[]): string {
  return `an array of ${answers.length} finite numbers, one for each answer`;
}

/** An answer, abbreviated for an error message. */
function shown({ prompt, response, promptText, responseText }: Answer): string {
  return `the answer ${printable(responseText ?? response)} to ${printable(promptText ?? prompt)}`;
}
