/** The random walks as tests of learning use them: what they learn from, how good they become, and from which seeds. */
import { Random } from '../../src/data/random.ts';
import { learnToWander, sampledOptimality } from '../../src/demo/learning.ts';
import { letterTokenizer, optimality, walkPrompts } from '../../src/demo/random-walks.ts';
import type { LanguageModel, RewardFunction } from '../../src/index.ts';
import { device } from '../device.ts';

/** Seeds of the slow tests: the first alone, or all with PALM_LEARNING=all, as in `npm run test:learning`. */
export const SEEDS = process.env.PALM_LEARNING === 'all' ? [0, 1, 2, 3, 4] : [0];

/** Whether tests run that only `npm run test:learning` has time for. */
export const ALL = process.env.PALM_LEARNING === 'all';

/** The prompts of the 20 nodes other than the goal. */
export const WALKS = walkPrompts.map((node) => letterTokenizer.encode(node));

/** How good each walk is, from 0 to 1. */
export const arrival: RewardFunction = (answers) =>
  answers.map(({ prompt, response }) => optimality([...prompt, ...response]));

/** The same scores, each given to another walk. */
export function shuffled(seed: number): RewardFunction {
  const random = new Random(seed);
  return (answers) => random.shuffle([...(arrival(answers) as number[])]);
}

/** A model that has seen random walks, and how good its own are. */
export async function wandererOf(seed: number): Promise<{ wanderer: LanguageModel; start: number }> {
  const wanderer = await learnToWander(seed, () => {}, device);
  return { wanderer, start: await howGood(wanderer) };
}

/** How good the walks of `model` are, from 0 to 1; `scope` names the adapters that walk. */
export async function howGood(model: LanguageModel, scope?: string): Promise<number> {
  return await sampledOptimality(model, { scope, seed: 1 });
}

/** The settings of 160 optimizer steps at a constant rate: 20 iterations of 140 walks each, all weights. */
export const ONLINE = {
  steps: 20,
  rolloutBatch: WALKS.length,
  minibatchSize: 70,
  epochs: 4,
  lr: 3e-4,
  warmupSteps: 0,
  decay: 'constant',
  lora: false,
  optimisation: { betas: [0.9, 0.95] as [number, number], weightDecay: 1e-6 },
  sampling: { maxNewTokens: 9, samplesPerPrompt: 7 },
  score: { norm: 'none' },
} as const;
