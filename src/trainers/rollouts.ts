/** Turns prompts into what a policy learns from: sampled responses, penalised scores, and the order of minibatches. */
import type { Policy, Rollout, RolloutInput } from '../models/policy.ts';
import type { PpoConfig } from '../config/ppo.ts';
import { deriveSeed, Random } from '../data/random.ts';
import { Tensor } from '../tensor/tensor.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Answer } from './combined-reward.ts';

export type { Answer, Reward, RewardFunction } from './combined-reward.ts';

/**
 * The shuffled rows of an epoch, in pieces of `size`. The order depends only on seed, step and epoch, so a resumed run continues
 * with the same one.
 */
export function minibatches(
  rows: number,
  size: number,
  config: { seed: number },
  step: number,
  epoch: number,
): number[][] {
  const order = new Random(deriveSeed(config.seed, step, epoch)).shuffle(Array.from({ length: rows }, (_, row) => row));
  return chunks(order, size);
}

/** `items` in pieces of `size`; the last one may be shorter. */
export function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** What ends a response before it reaches `maxNewTokens`. */
export interface Ending {
  eosToken?: number | undefined;
  /** Token sequences that each end a response, like the eos; they are part of the response. */
  stop?: number[][] | undefined;
}

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
): ReturnType<Who['rollout']> {
  const { logProb, ...sampling } = config.sampling;
  const rows = prompts.length * sampling.samplesPerPrompt;
  const input: RolloutInput = {
    ...sampling,
    prompts,
    eosToken,
    stop,
    padToken,
    seed: deriveSeed(config.seed, step) % 2 ** 32, // the seed that 0.1.0 used, whose runs can be resumed
    pieces: minibatches(rows, config.minibatchSize, config, step, 0),
    reference: policy.hasReference,
    recompute: logProb === 'recomputed',
    ...(signal && { signal }),
  };
  return policy.rollout(input) as ReturnType<Who['rollout']>;
}

/** The answers in a rollout of `prompts`, row by row. */
export async function answersOf(
  rollout: Rollout,
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

/** Subtracts `penalty`, in units of the normalised scores, from the score of each response that did not end. */
export function applyMissingEosPenalty(
  scores: readonly number[],
  answers: Answer[],
  ending: Ending,
  penalty: number,
): Tensor {
  return Tensor.from(
    Float32Array.from(scores, (score, row) => (ended(answers[row] as Answer, ending) ? score : score - penalty)),
    {},
  );
}

/** Whether a response ended with the eos token or a stop sequence. */
export function ended({ response }: Answer, { eosToken, stop = [] }: Ending): boolean {
  if (eosToken !== undefined && response.at(-1) === eosToken) return true;
  return stop.some((sequence) => {
    const tail = response.slice(-sequence.length);
    return tail.length === sequence.length && tail.every((token, i) => token === sequence[i]);
  });
}
