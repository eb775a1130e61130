/** Turns prompts into what a policy learns from: sampled responses, penalised scores, and the order of minibatches. */
import type { Policy, Rollout, RolloutInput } from '../models/policy.ts';
import type { PpoConfig } from '../config/ppo.ts';
import { type EosToken, eosTokensOf } from '../config/sampling.ts';
import { deriveSeed, Random } from '../data/random.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Answer } from './combined-reward.ts';

export type { Answer, Reward, RewardFunction, Score } from './combined-reward.ts';

/**
 * The shuffled rows of an epoch, in pieces of `size`; `together` neighbouring rows stay neighbours. The order depends only on seed,
 * step and epoch, so a resumed run continues with the same one.
 */
export function minibatches(
  rows: number,
  size: number,
  config: { seed: number },
  step: number,
  epoch: number,
  together = 1,
): number[][] {
  const groups = chunks(
    Array.from({ length: rows }, (_, row) => row),
    together,
  );
  const order = new Random(deriveSeed(config.seed, step, epoch)).shuffle(groups);
  return chunks(order.flat(), size);
}

/** `items` in pieces of `size`; the last one may be shorter. */
export function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/**
 * The most likely answer to each of `prompts`, by the current policy.
 * @throws the signal's reason once it is aborted.
 */
export async function greedyAnswers(
  policy: Policy,
  prompts: readonly (readonly number[])[],
  { eosToken, stop, padToken, signal }: CollectOptions,
  { maxNewTokens }: { maxNewTokens: number },
  tokenizer?: Pick<Tokenizer, 'decode'>,
  meta?: readonly Readonly<Record<string, unknown>>[],
): Promise<Answer[]> {
  const [scope] = policy.scopes;
  const suppress = padToken === undefined || eosTokensOf(eosToken).includes(padToken) ? [] : [padToken];
  using generated = await policy.model.generate({
    ...{ prompts, maxNewTokens, temperature: 0, suppress, eosToken, stop, padToken },
    ...(scope !== undefined && { scope }),
    ...(signal && { signal }),
  });
  const { sequences: sequence, responseMask } = generated;
  return await answersOf({ sequence, responseMask }, prompts, 1, tokenizer, meta);
}

/** What ends a response before it reaches `maxNewTokens`. */
export interface Ending {
  eosToken?: EosToken | undefined;
  /** Token sequences that each end a response, like the eos; they are part of the response. */
  stop?: number[][] | undefined;
}

/** Separates the seeds of further draws in an iteration from those of its epochs. */
const FURTHER_DRAWS = 2 ** 20;

interface CollectOptions extends Ending {
  padToken?: number | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Answers `prompts` with the current policy and evaluates the answers in the minibatches of the first epoch, so that its
 * probability ratios start at exactly 1, or within rounding if the sampler's log-probabilities are used.
 */
export function collect<Who extends Policy>(
  policy: Who,
  prompts: readonly (readonly number[])[],
  { eosToken, stop, padToken, signal }: CollectOptions,
  config: Pick<PpoConfig, 'sampling' | 'minibatchSize' | 'seed'>,
  step: number,
  { together = 1, draw = 0 }: { together?: number | undefined; draw?: number | undefined } = {},
): ReturnType<Who['rollout']> {
  const { logProb, maxNewTokens, temperature, samplesPerPrompt } = config.sampling;
  const rows = prompts.length * samplesPerPrompt;
  const input: RolloutInput = {
    maxNewTokens,
    temperature,
    samplesPerPrompt,
    prompts,
    eosToken,
    stop,
    padToken,
    // The seed of the first draw is the one that 0.1.0 used, whose runs can be resumed.
    seed: (draw === 0 ? deriveSeed(config.seed, step) : deriveSeed(config.seed, step, FURTHER_DRAWS + draw)) % 2 ** 32,
    pieces: minibatches(rows, config.minibatchSize, config, step, 0, together),
    reference: policy.hasReference,
    recompute: logProb === 'recomputed',
    ...(signal && { signal }),
  };
  return policy.rollout(input) as ReturnType<Who['rollout']>;
}

/** The answers in a rollout of `prompts`, row by row. */
export async function answersOf(
  rollout: Pick<Rollout, 'sequence' | 'responseMask'>,
  prompts: readonly (readonly number[])[],
  samplesPerPrompt: number,
  tokenizer?: Pick<Tokenizer, 'decode'>,
  meta?: readonly Readonly<Record<string, unknown>>[],
): Promise<Answer[]> {
  const width = rollout.sequence.shape[1] as number;
  const [tokens, mask] = await Promise.all([rollout.sequence.data(), rollout.responseMask.data()]);
  const answers = prompts.flatMap((prompt) => Array.from({ length: samplesPerPrompt }, () => prompt));
  const metaOf = (row: number) => meta && { meta: meta[Math.floor(row / samplesPerPrompt)] };
  return answers.map((prompt, row) => {
    const response: number[] = [];
    for (let t = prompt.length; t < width && mask[row * width + t]; t++) response.push(Number(tokens[row * width + t]));
    const answer: Answer = { prompt: [...prompt], response, ...metaOf(row) };
    if (tokenizer === undefined) return answer;
    return { ...answer, promptText: tokenizer.decode(prompt), responseText: tokenizer.decode(response) };
  });
}

/** How responses are penalised, in units of the normalised scores. */
type Penalties = Pick<PpoConfig['score'], 'missingEosPenalty' | 'missingEosScore' | 'overlongBuffer' | 'repetition'>;

/** The normalised `scores` of responses, less for those that did not end, or nearly did not, or repeat themselves. */
export function penalisedScores(
  scores: readonly number[],
  answers: readonly Answer[],
  ending: Ending,
  { missingEosPenalty, missingEosScore, overlongBuffer: buffer, repetition }: Penalties,
  maxNewTokens: number,
): number[] {
  return scores.map((score, row) => {
    const answer = answers[row] as Answer;
    const own = ended(answer, ending) ? score : (missingEosScore ?? score) - missingEosPenalty;
    const overlong = buffer === undefined ? 0 : overlongPenalty(answer.response.length, { maxNewTokens, buffer });
    return own - overlong - (repetition === undefined ? 0 : repetitionPenalty(answer.response, repetition));
  });
}

/** A share of `penalty` for a response: that of its n-grams that it has had before. Responses shorter than one get none. */
export function repetitionPenalty(
  response: readonly number[],
  { ngram, penalty }: { ngram: number; penalty: number },
): number {
  const grams = response.slice(ngram - 1).map((_, i) => response.slice(i, i + ngram).join());
  return grams.length === 0 ? 0 : penalty * (1 - new Set(grams).size / grams.length);
}

/**
 * The soft penalty of DAPO (Yu et al. 2025) for long responses: 0 up to `buffer` tokens before `maxNewTokens`, rising linearly to 1
 * there.
 */
export function overlongPenalty(length: number, { maxNewTokens, buffer }: { maxNewTokens: number; buffer: number }) {
  return Math.min(1, Math.max(0, (length - (maxNewTokens - buffer)) / buffer));
}

/** The share of the trigrams of a response that it has before; 0 if it is too short to have one twice. */
export function repetitionOf(response: readonly number[]): number {
  const trigrams = response.slice(2).map((_, i) => response.slice(i, i + 3).join());
  return trigrams.length === 0 ? 0 : 1 - new Set(trigrams).size / trigrams.length;
}

/** Whether a response ended with the eos token or a stop sequence. */
export function ended({ response }: Answer, { eosToken, stop = [] }: Ending): boolean {
  if (eosTokensOf(eosToken).includes(response.at(-1) as number)) return true;
  return stop.some((sequence) => {
    const tail = response.slice(-sequence.length);
    return tail.length === sequence.length && tail.every((token, i) => token === sequence[i]);
  });
}
