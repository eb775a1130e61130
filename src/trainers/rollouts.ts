/** From prompts to what a policy learns from: sampled responses, their scores, and the order in which they are learned. */
import type { Policy, Rollout, RolloutInput } from '../models/policy.ts';
import type { PpoConfig } from '../config/ppo.ts';
import { deriveSeed, Random } from '../data/random.ts';
import type { RewardModel } from '../models/reward-model.ts';
import { Tensor } from '../tensor/tensor.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** A response with the prompt that it answers; the texts are there when a tokenizer is. */
export interface Answer {
  prompt: number[];
  /** What was sampled, the eos token included when the response has ended. */
  response: number[];
  promptText?: string;
  responseText?: string;
}
/** Scores answers, one number each, higher is better. */
export type RewardFunction = (answers: Answer[]) => readonly number[] | Promise<readonly number[]>;
export type Reward = RewardModel | RewardFunction;

/**
 * The rows of an epoch in the order in which they are learned, in pieces of `size`. It depends on seed, step and epoch alone,
 * so a resumed run goes on with the same one.
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

/** What ends a response by itself, before it has `maxNewTokens`. */
export interface Ending {
  eosToken?: number | undefined;
  /** Token sequences any of which ends a response as the eos does; it keeps them. */
  stop?: number[][] | undefined;
}

interface CollectOptions extends Ending {
  padToken?: number | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Answers `prompts` with the current policy and reads the answers back in the pieces that the first epoch learns from, so
 * that its probability ratios start at exactly 1, or within rounding where the sampler's log-probabilities are taken.
 */
export function collect<Who extends Policy>(
  policy: Who,
  prompts: readonly (readonly number[])[],
  { eosToken, stop, padToken, signal }: CollectOptions,
  config: Pick<PpoConfig, 'sampling' | 'minibatchSize' | 'rolloutLogProb' | 'seed'>,
  step: number,
): ReturnType<Who['rollout']> {
  const rows = prompts.length * config.sampling.samplesPerPrompt;
  const input: RolloutInput = {
    ...config.sampling,
    prompts,
    eosToken,
    stop,
    padToken,
    seed: deriveSeed(config.seed, step) % 2 ** 32, // as 0.1.0 drew, whose runs go on
    pieces: minibatches(rows, config.minibatchSize, config, step, 0),
    reference: policy.hasReference,
    recompute: config.rolloutLogProb === 'recomputed',
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
): Promise<Answer[]> {
  const width = rollout.sequence.shape[1] as number;
  const [tokens, mask] = await Promise.all([rollout.sequence.data(), rollout.responseMask.data()]);
  const answers = prompts.flatMap((prompt) => Array.from({ length: samplesPerPrompt }, () => prompt));
  return answers.map((prompt, row) => {
    const response: number[] = [];
    for (let t = prompt.length; t < width && mask[row * width + t]; t++) response.push(Number(tokens[row * width + t]));
    const answer: Answer = { prompt: [...prompt], response };
    if (tokenizer === undefined) return answer;
    return { ...answer, promptText: tokenizer.decode(prompt), responseText: tokenizer.decode(response) };
  });
}

/** The scores that count: a response that did not end loses `penalty`, in units of the normalised scores. */
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

/** Whether a response closed with the eos token or a stop sequence. */
export function ended({ response }: Answer, { eosToken, stop = [] }: Ending): boolean {
  if (eosToken !== undefined && response.at(-1) === eosToken) return true;
  return stop.some((sequence) => {
    const tail = response.slice(-sequence.length);
    return tail.length === sequence.length && tail.every((token, i) => token === sequence[i]);
  });
}
