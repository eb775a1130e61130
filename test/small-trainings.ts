/** Trainings of a few steps that take milliseconds, whose optimizer can be disturbed. */
import {
  ActorCritic,
  Batches,
  type Optimizer,
  PaLM,
  type Parameter,
  type PpoParts,
  ppo,
  pretrain,
  RewardModel,
  RunningScores,
  reward,
  Windows,
} from '../src/index.ts';
import { type PpoConfigInput, ppoConfig } from '../src/config/ppo.ts';
import { pretrainConfig } from '../src/config/pretrain.ts';
import { type RewardConfigInput, rewardConfig } from '../src/config/reward.ts';
import type { RewardFunction } from '../src/trainers/rollouts.ts';
import { parseConfig } from '../src/config/schema.ts';
import type { Preference } from '../src/data/preferences.ts';
import { device } from './device.ts';
import { Disturbed } from './poison.ts';

export const SIZE = { numTokens: 16, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, device };

/** Every bit of weights and optimizer: moments, masters, counts. */
export async function bits(parameters: readonly Parameter[], optimizer: Optimizer): Promise<Buffer[]> {
  const state = optimizer.contents().tensors.map(({ tensor }) => tensor);
  const arrays = await Promise.all([...parameters, ...state].map((tensor) => tensor.data()));
  return arrays.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength));
}

export const PAIRS: Preference[] = Array.from({ length: 6 }, (_, i) => ({
  prompt: [1 + (i % 3), 4],
  chosen: [5, 6 + (i % 4)],
  rejected: [7],
}));
export const PROMPTS = [[2, 3], [4], [5, 6, 7], [8, 9]];
const EOS = 1;
/** Likes the token 5. */
export const fives: RewardFunction = (answers) =>
  answers.map(({ response }) => response.filter((token) => token === 5).length);

export function pretraining(tokens = Array.from({ length: 90 }, (_, i) => (i * i) % 16), options = {}) {
  const model = new PaLM({ ...SIZE, ...options });
  const optimizer = new Disturbed(model.parameters(), { lr: 1e-2 });
  const text = new Windows(Int32Array.from(tokens), 8);
  const batches = new Batches({ size: text.size, batchSize: 2, seed: 1 });
  const config = parseConfig(pretrainConfig, { steps: 12, batchSize: 2, lr: 1e-2, warmupSteps: 1 }, 'test');
  return { model, optimizer, batches, steps: pretrain({ model, optimizer, text, batches }, config) };
}

export function rewarding(options: RewardConfigInput = {}, pairs = PAIRS, validation?: Preference[]) {
  const rewardModel = new RewardModel(new PaLM(SIZE), { lora: 4, pooling: 'response' });
  const optimizer = new Disturbed(rewardModel.parameters(), { lr: 1e-2, weightDecay: 0 });
  const config = parseConfig(rewardConfig, { batchSize: 2, epochs: 4, warmupSteps: 1, lr: 1e-2, ...options }, 'test');
  const batches = new Batches({ size: pairs.length, batchSize: config.batchSize, seed: 1 });
  const parts = { rewardModel, optimizer, pairs, batches, validation };
  return { rewardModel, optimizer, batches, steps: reward(parts, config) };
}

export function policy(options: PpoConfigInput = {}, parts: Partial<PpoParts> = {}, model = SIZE) {
  const config = parseConfig(
    ppoConfig,
    { ...PLAIN, rolloutBatch: 4, minibatchSize: 4, epochs: 2, lr: 1e-2, sampling: SAMPLING, ...options },
    'test',
  );
  const actorCritic = new ActorCritic(new PaLM(model), { lora: 4 });
  const optimizer = new Disturbed(actorCritic.parameters(), { lr: 1e-2 });
  const { prompts = PROMPTS } = parts;
  const batches = new Batches({ size: prompts.length, batchSize: config.rolloutBatch, seed: 1 });
  const runningScores = new RunningScores();
  const own = { actorCritic, optimizer, batches, runningScores, prompts };
  const all: PpoParts = { ...own, reward: fives, eosToken: EOS, ...parts };
  return { actorCritic, optimizer, batches, parts: all, config, steps: ppo(all, config) };
}
/** Everything learns from the first step, at full rate and as long as it is told. */
const PLAIN = { steps: 4, critic: { warmup: 0 }, warmupSteps: 0, approxKlStop: false } as const;
export const SAMPLING = { maxNewTokens: 4, samplesPerPrompt: 2 };
