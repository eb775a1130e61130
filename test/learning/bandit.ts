/**
 * A bandit of one token: 4 prompts of one token each, 8 tokens to answer with, a fixed reward for every answer to every prompt. The
 * policy that earns most for its KL to the start is known: π* ∝ π_ref · exp(reward / β).
 */
import { PaLM, type Reward } from '../../src/index.ts';
import type { LanguageModel } from '../../src/models/language-model.ts';
import { Random } from '../../src/data/random.ts';
import { device } from '../device.ts';

export const PROMPTS = [[0], [1], [2], [3]];
export const ANSWERS = 8;

/** 60 iterations of 128 answers, 480 updates. */
export const BANDIT = {
  steps: 60,
  rolloutBatch: PROMPTS.length,
  minibatchSize: 64,
  epochs: 4,
  sampling: { maxNewTokens: 1, samplesPerPrompt: 32 },
  lr: 1e-2,
  warmupSteps: 0,
  lora: false,
  score: { norm: 'none' },
} as const;

/** reward[prompt][answer], from 0 to 1. */
export type Rewards = number[][];

export function rewardsOf(seed: number): Rewards {
  const random = new Random(seed);
  return PROMPTS.map(() => Array.from({ length: ANSWERS }, () => random.next()));
}

export function rewardFunction(rewards: Rewards): Reward {
  return (answers) => answers.map(({ prompt, response }) => rewards[prompt[0] as number]?.[response[0] as number] ?? 0);
}

export function startingModel(seed: number): LanguageModel {
  return new PaLM({ numTokens: ANSWERS, dim: 32, depth: 1, heads: 2, dimHead: 16, seed, device });
}

/** π[prompt][answer] of a model. */
export async function probabilities(model: LanguageModel): Promise<number[][]> {
  using read = await model.forward(PROMPTS);
  const logits = Array.from(await read.logits.data(), Number);
  return PROMPTS.map((_, prompt) => softmax(logits.slice(prompt * ANSWERS, (prompt + 1) * ANSWERS)));
}

/** The best policy at a cost of `beta` per nat of KL to `reference`. */
export function optimum(reference: number[][], rewards: Rewards, beta: number): number[][] {
  return reference.map((row, prompt) =>
    softmax(row.map((p, answer) => Math.log(p) + ((rewards[prompt]?.[answer] as number) ?? 0) / beta)),
  );
}

/** The best policy at a cost of `beta` per nat of KL(reference ‖ policy), the other direction: beta · reference / (λ − reward). */
export function forwardOptimum(reference: number[][], rewards: Rewards, beta: number): number[][] {
  return reference.map((row, prompt) => {
    const own = rewards[prompt] as number[];
    const at = (lambda: number) => row.map((p, answer) => (beta * p) / (lambda - (own[answer] as number)));
    // The probabilities add up to 1 for one λ above the largest reward: they fall as it grows.
    let [low, high] = [Math.max(...own), Math.max(...own) + beta];
    for (let i = 0; i < 200; i++) {
      const middle = (low + high) / 2;
      if (at(middle).reduce((sum, p) => sum + p, 0) > 1) low = middle;
      else high = middle;
    }
    return at(high);
  });
}

/** The largest difference between two policies. */
export function distance(a: number[][], b: number[][]): number {
  return Math.max(...a.flatMap((row, i) => row.map((p, j) => Math.abs(p - (b[i]?.[j] as number)))));
}

function softmax(logits: number[]): number[] {
  const max = Math.max(...logits);
  const exp = logits.map((logit) => Math.exp(logit - max));
  const sum = exp.reduce((total, value) => total + value, 0);
  return exp.map((value) => value / sum);
}
