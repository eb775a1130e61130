/** Training a reward model: the contract of a trainer, and that it learns which responses are chosen. */
import { describe, expect, it } from 'vitest';
import { type RewardConfigInput, rewardConfig } from '../src/config/reward.ts';
import { parseConfig } from '../src/config/schema.ts';
import { Batches } from '../src/data/batches.ts';
import type { Preference } from '../src/data/preferences.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import type { Parameter } from '../src/tensor/tensor.ts';
import { evaluatePairs, type RewardStep, reward, rewardSteps } from '../src/trainers/reward.ts';
import { scoresOf } from '../src/trainers/rewards.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';

/** Pairs of which the chosen response has the lower tokens; lengths differ. */
function pair(i: number): Preference {
  const row = (length: number, least: number) => Array.from({ length }, (_, t) => least + ((i + t) % 4));
  return { prompt: row(1 + (i % 3), 3), chosen: row(2 + (i % 4), 0), rejected: row(2 + ((i + 1) % 5), 6) };
}
const pairs = Array.from({ length: 12 }, (_, i) => pair(i));
const validation = Array.from({ length: 7 }, (_, i) => pair(i + 20));

function config(options: RewardConfigInput) {
  return parseConfig(rewardConfig, { batchSize: 4, warmupSteps: 1, evaluateEvery: 4, lr: 1e-2, ...options }, 'test');
}

function trunk() {
  return new PaLM({ numTokens: 12, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device });
}

trainerContract('reward', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    return config({ epochs, batchSize, accumulate, lora: 4, evaluateEvery: 50, ...settings });
  },
  ingredients: (_, rows) => ({ model: trunk(), pairs: Array.from({ length: rows }, (_, i) => pair(i)), validation }),
  resumes: { 'with dropout': { dropout: 0.3 }, 'with all weights': { lora: false } },
});

function parts({ lora = 4, dropout = 0 }: { lora?: number | false; dropout?: number } = {}) {
  const rewardModel = new RewardModel(trunk(), { lora, dropout });
  const optimizer = new AdamW(rewardModel.parameters(), { lr: 1e-2, weightDecay: 0 });
  const batches = new Batches({ size: pairs.length, batchSize: 4, seed: 5 });
  return { rewardModel, optimizer, pairs, batches, validation };
}

async function collect(steps: AsyncIterable<RewardStep>): Promise<Omit<RewardStep, 'timing'>[]> {
  const all: Omit<RewardStep, 'timing'>[] = [];
  for await (const { timing: _, ...step } of steps) all.push(step);
  return all;
}

const weights = (parameters: Parameter[]) => Promise.all(parameters.map((parameter) => parameter.data()));

describe('training a reward model', () => {
  it.each([4, false] as const)('learns which responses are chosen, with lora %s', async (lora) => {
    const run = parts({ lora });
    const before = await evaluatePairs(run.rewardModel, validation, 3);
    const steps = await collect(reward(run, config({ epochs: 4, lora })));
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(steps.filter((step) => step.validationLoss !== undefined).map(({ step }) => step)).toEqual([4, 8, 12]);
    const last = steps.at(-1);
    expect(last).toMatchObject({ accuracy: 1, validationAccuracy: 1, skipped: undefined });
    expect(last?.margin).toBeGreaterThan(0);
    expect(last?.validationLoss).toBeLessThan(before.loss);
  });

  it('changes nothing but the adapters and the head', async () => {
    const run = parts();
    const before = await weights(run.rewardModel.model.parameters());
    await collect(reward(run, config({})));
    expect(await weights(run.rewardModel.model.parameters())).toEqual(before);
  });

  it('has statistics of its scores after an evaluation, and none after other steps', async () => {
    const run = parts();
    const known: boolean[] = [];
    for await (const _ of reward(run, config({ epochs: 3, evaluateEvery: 4 })))
      known.push(run.rewardModel.statistics !== undefined);
    expect(known).toEqual(Array.from({ length: 9 }, (_, i) => [4, 8, 9].includes(i + 1)));
  });

  it('uses dropout only in training', async () => {
    const run = parts({ dropout: 0.3 });
    for await (const step of reward(run, config({ dropout: 0.3, evaluateEvery: 1 }))) {
      expect(run.rewardModel.training).toBe(false);
      const again = await evaluatePairs(run.rewardModel, validation, 4);
      expect(again).toMatchObject({ loss: step.validationLoss, accuracy: step.validationAccuracy });
    }
  });
});

describe('comparing all pairs', () => {
  it('does not depend on how they are batched', async () => {
    const { rewardModel } = parts();
    const [a, b] = [await evaluatePairs(rewardModel, validation, 7), await evaluatePairs(rewardModel, validation, 3)];
    expect(b.loss).toBeCloseTo(a.loss, 5);
    expect(b.accuracy).toBeCloseTo(a.accuracy, 6);
  });
});

describe('a bidirectional trunk', () => {
  function judge(causal: boolean, numTokens = 50) {
    const palm = new PaLM({ numTokens, dim: 32, depth: 2, heads: 2, dimHead: 16, causal, seed: 3, device });
    return new RewardModel(palm, { lora: false, pooling: 'response' });
  }
  const short = { prompt: [5, 9, 11], response: [2, 30, 7] };
  const long = { prompt: [5], response: Array.from({ length: 20 }, (_, i) => i + 1) };

  it.each([true, false])('scores an answer next to a longer one as alone, with causal %s', async (causal) => {
    using rewardModel = judge(causal);
    const options = { size: 8, timeout: 9 };
    const [alone] = (await scoresOf(rewardModel, [short], options)).scores;
    const [beside] = (await scoresOf(rewardModel, [short, long], options)).scores;
    expect(beside).toBeCloseTo(alone as number, 6);
  });

  it.each([true, false])('compares pairs in a batch as alone, with causal %s', async (causal) => {
    using rewardModel = judge(causal);
    const rows = [
      { prompt: [5, 9], chosen: [2, 30, 7], rejected: [4] },
      { prompt: [5], chosen: long.response, rejected: [1, 2] },
    ];
    const together = await evaluatePairs(rewardModel, rows, 2);
    const apart = await evaluatePairs(rewardModel, rows, 1);
    expect(together.loss).toBeCloseTo(apart.loss, 6);
  });

  it('trains the same in a batch as one pair at a time', async () => {
    const losses: number[][] = [];
    for (const [batchSize, accumulate] of [
      [4, 1],
      [1, 4],
    ] as const) {
      using rewardModel = judge(false, 12);
      const optimizer = new AdamW(rewardModel.parameters(), { lr: 1e-2, weightDecay: 0 });
      const batches = new Batches({ size: pairs.length, batchSize, seed: 5 });
      const steps = reward({ rewardModel, optimizer, pairs, batches }, config({ epochs: 1, batchSize, accumulate }));
      losses.push((await collect(steps)).map(({ loss }) => loss));
    }
    for (const [i, loss] of (losses[0] as number[]).entries()) expect(losses[1]?.[i]).toBeCloseTo(loss, 5);
  });
});

describe('the number of steps', () => {
  it('covers all pairs', () => {
    expect(rewardSteps(12, config({ epochs: 2 }))).toBe(6);
    expect(rewardSteps(13, config({ epochs: 1, accumulate: 2 }))).toBe(2);
    expect(rewardSteps(1, config({}))).toBe(1);
  });
});
