/**
 * The stages of the demo: pretraining on random walks, comparing pairs of the model's walks, training a reward model on
 * them, and PPO against it.
 */
import type { ActorCritic } from '../models/actor-critic.ts';
import { ppoConfig, type PpoConfigInput } from '../config/ppo.ts';
import { pretrainConfig } from '../config/pretrain.ts';
import { rewardConfig } from '../config/reward.ts';
import { parseConfig } from '../config/schema.ts';
import type { Preference } from '../data/preferences.ts';
import { padRight } from '../data/prompts.ts';
import type { Sequences } from '../data/text.ts';
import type { StepMetrics } from '../metrics/metrics.ts';
import { ppoMethod } from '../methods/ppo.ts';
import { pretrainMethod } from '../methods/pretrain.ts';
import { rewardMethod } from '../methods/reward.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { createModel } from '../models/registry.ts';
import type { RewardModel } from '../models/reward-model.ts';
import type { PpoStep } from '../trainers/ppo.ts';
import { rewardSteps } from '../trainers/reward.ts';
import type { Reward } from '../trainers/rollouts.ts';
import { letterTokenizer, optimality, randomWalks, walkPrompts } from './random-walks.ts';

const EOS = letterTokenizer.eosToken as number;
const PAD = letterTokenizer.padToken as number;
const PROMPTS = walkPrompts.map((node) => letterTokenizer.encode(node));
const MAX_NEW_TOKENS = 9;
/** Optimizer settings of every stage. */
const MOVING: { betas: [number, number]; weightDecay: number } = { betas: [0.9, 0.95], weightDecay: 1e-6 };

/** Called after every step of a stage. */
export type Show = (step: StepMetrics) => void;

/** Pretrains a model on 1000 random walks. */
export async function learnToWander(seed: number, show: Show, device = 'cpu', steps = 400): Promise<LanguageModel> {
  const sizes = { numTokens: letterTokenizer.vocabSize, dim: 64, depth: 2, heads: 4, dimHead: 16 };
  const model = createModel({ ...sizes, ignoreIndex: PAD, seed, device });
  const text = rowsOf(randomWalks({ count: 1000, seed: 1000 }));
  const schedule = { steps, batchSize: 100, lr: 1e-3, minLr: 0, warmupSteps: 0, decay: 'linear' as const, seed };
  const config = parseConfig(pretrainConfig, { ...schedule, ...MOVING }, 'demo');
  const { parts, train } = pretrainMethod.assemble(config, { model, text });
  using _ = parts.optimizer;
  for await (const step of train()) show({ ...step });
  return model;
}

/** Walks as rows of equal length, each ended by an eos. Padding is not a target, as it is the model's `ignoreIndex`. */
function rowsOf(walks: readonly string[]): Sequences {
  const encoded = walks.map((walk) => [...letterTokenizer.encode(walk), EOS]);
  return {
    size: walks.length,
    rows(indices) {
      const { tokens, shape } = padRight(
        indices.map((index) => encoded[index] as number[]),
        PAD,
      );
      return { tokens, shape };
    },
  };
}

/** Samples `samples` walks of a model from every start, with their optimality. */
export async function walksOf(
  model: LanguageModel,
  samples: number,
  options: { scope?: string; seed?: number } = {},
): Promise<{ walk: number[]; optimality: number }[]> {
  const drawing = { maxNewTokens: MAX_NEW_TOKENS, samplesPerPrompt: samples, eosToken: EOS, padToken: PAD };
  using generation = await model.generate({ prompts: PROMPTS, ...drawing, ...options });
  const width = generation.sequences.shape[1] as number;
  const tokens = Array.from(await generation.sequences.data(), Number);
  return Array.from({ length: tokens.length / width }, (_, row) => {
    const walk = tokens.slice(row * width, (row + 1) * width);
    return { walk, optimality: optimality(walk) };
  });
}

/** The mean optimality of 50 sampled walks from every start. */
export async function sampledOptimality(
  model: LanguageModel,
  options: { scope?: string; seed?: number } = {},
): Promise<number> {
  const walks = await walksOf(model, 50, options);
  return walks.reduce((sum, { optimality }) => sum + optimality, 0) / walks.length;
}

/** Pairs of the model's walks from the same start; the better one is chosen, as a person who knows the map would do. */
export async function comparedPairs(model: LanguageModel, count: number, seed: number): Promise<Preference[]> {
  const samples = 2 * Math.ceil((1.5 * count) / PROMPTS.length); // a third or more are ties, which carry no preference
  const walks = await walksOf(model, samples, { seed });
  const answer = (walk: number[]) => walk.slice(1).filter((token) => token !== PAD);
  const pairs: Preference[] = [];
  for (let i = 0; i < walks.length; i += 2) {
    const [first, second] = [walks[i], walks[i + 1]].sort((a, b) => (b?.optimality ?? 0) - (a?.optimality ?? 0));
    if (!first || !second || first.optimality === second.optimality) continue;
    pairs.push({ prompt: first.walk.slice(0, 1), chosen: answer(first.walk), rejected: answer(second.walk) });
  }
  return pairs.slice(0, count);
}

const JUDGING = { epochs: 10, batchSize: 50, lr: 1e-3, warmupSteps: 0, lora: false as const, ...MOVING };

/** The number of steps of `learnToJudge`. */
export function judgeSteps(pairs: number): number {
  return rewardSteps(pairs, parseConfig(rewardConfig, JUDGING, 'demo'));
}

/** Trains a reward model on pairs; its trunk is a copy of `model`. */
export async function learnToJudge(
  model: LanguageModel,
  pairs: readonly Preference[],
  seed: number,
  show: Show,
): Promise<RewardModel> {
  const config = parseConfig(rewardConfig, { ...JUDGING, seed }, 'demo');
  const { parts, train } = rewardMethod.assemble(config, { model, pairs });
  using _ = parts.optimizer;
  for await (const step of train()) show({ ...step });
  return parts.weights;
}

/** 20 iterations leave no room for warm-up; scores from 0 to 1, or in nats, need no normalisation. */
const HASTE = { critic: { warmup: 0 }, warmupSteps: 0, approxKlStop: false, score: { norm: 'none' } } as const;

/**
 * Runs PPO: by default 20 iterations of 140 walks each, 160 optimizer steps in total. `heldOut` scores the walks, too, and nothing is
 * learned from it.
 */
export async function* learnToArrive(
  actorCritic: ActorCritic,
  reward: Reward,
  options: PpoConfigInput,
  heldOut?: Reward,
): AsyncGenerator<PpoStep> {
  const task = { steps: 20, rolloutBatch: PROMPTS.length, minibatchSize: 70, epochs: 4, klWeight: 0 };
  const sampling = { maxNewTokens: MAX_NEW_TOKENS, samplesPerPrompt: 7 };
  const settings = { ...task, ...HASTE, sampling, optimisation: MOVING, ...options };
  const config = parseConfig(ppoConfig, settings, 'demo');
  const ingredients = { actorCritic, reward, heldOut, prompts: PROMPTS, tokenizer: letterTokenizer };
  const { parts, train } = ppoMethod.assemble(config, ingredients);
  using _ = parts.optimizer;
  yield* train();
}
