/** Out of memory: an error with numbers, after which everything goes on, training with fewer rows at a time. */
import { afterEach, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { ppoConfig } from '../src/config/ppo.ts';
import { type PretrainConfigInput, pretrainConfig } from '../src/config/pretrain.ts';
import { rewardConfig } from '../src/config/reward.ts';
import { parseConfig } from '../src/config/schema.ts';
import { Batches } from '../src/data/batches.ts';
import { Windows } from '../src/data/text.ts';
import { ArgumentError, OutOfMemoryError } from '../src/errors.ts';
import { addon } from '../src/native/addon.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { memory, type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { ppo } from '../src/trainers/ppo.ts';
import { type PretrainStep, pretrain } from '../src/trainers/pretrain.ts';
import { reward } from '../src/trainers/reward.ts';

const MiB = 2 ** 20;
const SIZE = { numTokens: 64, dim: 64, depth: 2, heads: 2, dimHead: 32 };

afterEach(() => {
  memory({ limit: 0 });
});

/** The error that `use` throws or rejects with. */
async function refusal(use: () => unknown): Promise<OutOfMemoryError> {
  try {
    await use();
  } catch (error) {
    expect(error).toBeInstanceOf(OutOfMemoryError);
    return error as OutOfMemoryError;
  }
  throw new Error('nothing was thrown');
}

describe('impossible allocations are refused', () => {
  it.each([
    ['2^50 numbers', [2 ** 50], 2 ** 52],
    ['a tensor of all addresses', [2 ** 45], 2 ** 47],
    ['a product beyond 2^63', [2 ** 40, 2 ** 40], 2 ** 63],
    ['a product of 2^64, which is 0 to a careless multiplication', [2 ** 32, 2 ** 32], 2 ** 63],
  ])('of %s', async (_what, shape, requested) => {
    const before = memory();
    const error = await refusal(() => addon().tensorEmpty(shape, 'float32', 'cpu'));
    expect(error.code).toBe('ERR_OUT_OF_MEMORY');
    expect(error.requested).toBe(requested);
    if (requested < 2 ** 63) expect(error.available).toBeLessThan(requested);
    expect(memory().usedBytes).toBe(before.usedBytes);
  });

  it.each([
    ['numTokens', { numTokens: 2 ** 52 }],
    ['dim', { dim: 2 ** 50 }],
    ['depth', { depth: 2 ** 50 }],
    ['depth that fits in numbers, but not here', { depth: 2 ** 32 }],
    ['heads', { heads: 2 ** 50 }],
    ['dimHead', { dimHead: 2 ** 50 }],
    ['ffMult', { ffMult: 2 ** 50 }],
  ])('of a model with an absurd %s', async (_what, options) => {
    const before = memory();
    const error = await refusal(() => new PaLM({ ...SIZE, ...options }));
    expect(error.requested).toBeGreaterThan(error.available as number);
    expect(memory()).toMatchObject({ liveBytes: before.liveBytes, usedBytes: before.usedBytes });
  });

  it('of adapters, rating bins and samples', async () => {
    using palm = new PaLM(SIZE);
    await refusal(() => palm.addScope('wide', { rank: 2 ** 50 }));
    expect(palm.scopes).toEqual([]);
    await refusal(() => palm.generate({ prompts: [[1]], maxNewTokens: 2, samplesPerPrompt: 2 ** 40 }));
    using out = await palm.generate({ prompts: [[1]], maxNewTokens: 2 });
    expect(out.sequences.shape).toEqual([1, 3]);
    await refusal(() => new RewardModel(palm, { numBins: 2 ** 50 }));
    expect(palm.scopes).toEqual([]);
    await refusal(() => new RewardModel(palm, { numBins: 2 ** 50, lora: false }));
    using loss = await palm.loss([[1, 2]]);
    await loss.backward();
  });
});

describe('an allocation beyond the free memory', () => {
  it('is refused before the system kills a process', async () => {
    const before = memory();
    const held: ReturnType<ReturnType<typeof addon>['tensorEmpty']>[] = [];
    const block = 2 ** 28;
    const error = await refusal(() => {
      for (;;) held.push(addon().tensorEmpty([block], 'float32', 'cpu'));
    });
    expect(held.length).toBeGreaterThan(0);
    expect(error.requested).toBe(4 * block);
    expect(error.available).toBeLessThan(4 * block);
    for (const tensor of held) addon().dispose(tensor);
    using values = Tensor.from([1, 2, 3]);
    expect([...(await values.data())]).toEqual([1, 2, 3]);
    expect(memory().usedBytes).toBe(before.usedBytes);
  });
});

describe('a user-defined memory limit', () => {
  it('is enforced, reports the memory left, and can be removed', async () => {
    const { usedBytes } = memory({ limit: memory().usedBytes + 4 * MiB });
    using first = Tensor.from(new Float32Array(MiB / 2));
    const error = await refusal(() => Tensor.from(new Float32Array(MiB)));
    expect(error).toMatchObject({ argument: 'memory.limit', requested: 4 * MiB, available: 2 * MiB });
    expect(error.message).toContain('got an allocation of 4.0 MiB, expected at most the 2.0 MiB available');
    using second = Tensor.from(new Float32Array(MiB / 2));
    expect(memory().usedBytes).toBe(usedBytes + 4 * MiB);
    memory({ limit: 0 });
    using third = Tensor.from(new Float32Array(MiB));
    expect([first, second, third].map(({ shape }) => shape[0])).toEqual([MiB / 2, MiB / 2, MiB]);
  });

  it.each([-1, 1.5, Number.NaN, '1'])('cannot be %s', (limit) => {
    expect(() => memory({ limit: limit as number })).toThrow(ArgumentError);
  });

  it('ends a forward or backward pass cleanly, wherever it is reached', async () => {
    using palm = new PaLM(SIZE);
    const tokens = Array.from({ length: 8 }, (_, row) => Array.from({ length: 65 }, (_, t) => (row * t) % 64));
    const pass = async () => {
      using loss = await palm.loss(tokens);
      await loss.backward();
      return await loss.item();
    };
    const expected = await pass();
    const { usedBytes } = memory({ resetPeak: true });
    await pass();
    const whole = memory().peakBytes - usedBytes;
    let refused = 0;
    for (let allowed = 0; allowed < whole; allowed += whole / 40) {
      memory({ limit: usedBytes + Math.floor(allowed) + 1 });
      await refusal(pass);
      refused++;
      memory({ limit: 0 });
      using after = Tensor.from([1]);
      await after.item(); // what was disposed of is freed in the order of calls
      expect(memory().usedBytes).toBe(usedBytes);
      expect(await pass()).toBe(expected);
    }
    expect(refused).toBe(40);
  });
});

describe('a rollout that exceeds the limit', () => {
  it('leaves nothing behind, and the next one is unaffected', async () => {
    using palm = new PaLM({ ...SIZE, depth: 1 });
    using actorCritic = new ActorCritic(palm);
    const prompts = Array.from({ length: 32 }, (_, row) => [row, 1, 2]);
    const sampled = async () => {
      using rollout = await actorCritic.rollout({ prompts, maxNewTokens: 40, reference: true, seed: 1 });
      return [await rollout.sequence.data(), await rollout.rolloutValue.data()];
    };
    const expected = await sampled();
    const { usedBytes } = memory({ resetPeak: true });
    await sampled();
    const whole = memory().peakBytes - usedBytes;
    for (let allowed = 0; allowed < whole; allowed += whole / 12) {
      memory({ limit: usedBytes + Math.floor(allowed) + 1 });
      await refusal(sampled);
      memory({ limit: 0 });
      expect(await sampled()).toEqual(expected);
      expect(memory().usedBytes).toBe(usedBytes);
    }
  });
});

const text = new Windows(
  Int32Array.from({ length: 64 * 40 + 1 }, (_, i) => (i * i + 3 * i) % 61),
  64,
);

function config(options: PretrainConfigInput) {
  const schedule = { warmupSteps: 0, lr: 1e-2, evaluateEvery: 1000, validationFraction: 0 };
  return parseConfig(pretrainConfig, { ...schedule, ...options }, 'test');
}

/** A run of `steps`, from its beginning; `limit` bytes may be used besides what it starts with. */
async function trained(options: PretrainConfigInput, limit?: number) {
  using palm = new PaLM({ ...SIZE, seed: 3 });
  using optimizer = new AdamW(palm.parameters(), { lr: 1e-2 });
  const settings = config(options);
  const batches = new Batches({ size: text.size, batchSize: settings.batchSize, seed: 5 });
  const steps: Omit<PretrainStep, 'timing'>[] = [];
  using warm = await palm.loss([[1, 2, 3]]); // gradients have their place from here on
  await warm.backward();
  optimizer.zeroGrad();
  const { usedBytes } = memory({ resetPeak: true, ...(limit !== undefined && { limit: memory().usedBytes + limit }) });
  for await (const { timing: _, ...step } of pretrain({ model: palm, optimizer, text, batches }, settings))
    steps.push(step);
  memory({ limit: 0 });
  const weights = await Promise.all(palm.parameters().map((parameter) => parameter.data()));
  return { steps, weights, peak: memory().peakBytes - usedBytes, left: memory().usedBytes - usedBytes };
}

describe('training out of memory', () => {
  it('continues with half the rows at a time: bitwise equal to two half batches, and to the whole up to rounding', async () => {
    const whole = await trained({ steps: 4, batchSize: 8 });
    const halves = await trained({ steps: 4, batchSize: 4, accumulate: 2 });
    expect(halves.peak).toBeLessThan(whole.peak);

    const limited = await trained({ steps: 4, batchSize: 8 }, (whole.peak + halves.peak) / 2);
    expect(limited.steps.map(({ microBatch }) => microBatch)).toEqual([4, 4, 4, 4]);
    expect(limited.steps.map(({ microBatch: _, ...step }) => step)).toEqual(
      halves.steps.map(({ microBatch: _, ...step }) => step),
    );
    expect(limited.weights).toEqual(halves.weights);
    expect(limited.left).toBe(whole.left);
    for (const [i, { loss, microBatch }] of whole.steps.entries()) {
      expect(microBatch).toBeUndefined();
      expect(limited.steps[i]?.loss).toBeCloseTo(loss, 5);
    }
  });

  it('halves as often as necessary, including batches of odd sizes', async () => {
    const whole = await trained({ steps: 2, batchSize: 7 });
    const quarter = await trained({ steps: 2, batchSize: 2 });
    const limited = await trained({ steps: 2, batchSize: 7 }, quarter.peak);
    expect(limited.steps.map(({ microBatch }) => microBatch)).toEqual([2, 2]);
    for (const [i, { loss, gradNorm }] of whole.steps.entries()) {
      expect(limited.steps[i]?.loss).toBeCloseTo(loss, 5);
      expect(limited.steps[i]?.gradNorm).toBeCloseTo(gradNorm, 4);
    }
  });

  it('gives up if one row is too much', async () => {
    const error = await refusal(() => trained({ steps: 2, batchSize: 8 }, MiB / 4 - 1));
    expect(error.argument).toBe('memory.limit');
  });
});

/** The same for pairs or prompts: `parts` are made anew each time, and all steps of `train` are done under the limit. */
async function under<Step extends { timing: unknown }>(
  make: () => { parameters: Parameter[]; steps: AsyncGenerator<Step>; dispose(): void },
  limit?: number,
) {
  const { parameters, steps, dispose } = make();
  using ready = Tensor.from([1]);
  await ready.item();
  const { usedBytes } = memory({ resetPeak: true, ...(limit !== undefined && { limit: memory().usedBytes + limit }) });
  const seen: Omit<Step, 'timing'>[] = [];
  for await (const { timing: _, ...step } of steps) seen.push(step);
  memory({ limit: 0 });
  const peak = memory().peakBytes - usedBytes;
  const weights = (await Promise.all(parameters.map((parameter) => parameter.data()))).map((data) =>
    Array.from(data, Number),
  );
  dispose();
  return { seen, peak, weights };
}

describe('the other trainers', () => {
  const draw = (row: number, length: number, from: number) => Array.from({ length }, (_, t) => (from + row * t) % 61);

  it('train on half the pairs at a time, equal up to rounding', async () => {
    const make = (batchSize: number, accumulate: number) => () => {
      const palm = new PaLM({ ...SIZE, seed: 3 });
      const rewardModel = new RewardModel(palm, { lora: 2, seed: 1 });
      const optimizer = new AdamW(rewardModel.parameters(), { lr: 1e-3 });
      const pairs = Array.from({ length: 16 }, (_, i) => {
        return { prompt: draw(i, 40, 1), chosen: draw(i, 30, 2), rejected: draw(i, 24, 5) };
      });
      const batches = new Batches({ size: pairs.length, batchSize, seed: 5 });
      const settings = parseConfig(
        rewardConfig,
        { batchSize, accumulate, epochs: 1, warmupSteps: 0, lr: 1e-3 },
        'test',
      );
      const dispose = () => {
        for (const owner of [optimizer, rewardModel, palm]) owner.dispose();
      };
      const steps = reward({ rewardModel, optimizer, pairs, batches }, settings);
      return { parameters: rewardModel.parameters(), steps, dispose };
    };
    const whole = await under(make(8, 1));
    const halves = await under(make(4, 2));
    const limited = await under(make(8, 1), Math.round((whole.peak + halves.peak) / 2));
    expect(limited.seen.map(({ microBatch }) => microBatch)).toEqual([4, 4]);
    expect(limited.weights).toEqual(halves.weights);
    for (const [i, { loss, accuracy }] of whole.seen.entries()) {
      expect(limited.seen[i]?.loss).toBeCloseTo(loss, 5);
      expect(limited.seen[i]?.accuracy).toBeCloseTo(accuracy as number, 6);
    }
  });

  it('train on half the responses at a time, equal up to rounding', async () => {
    const make = () => {
      const palm = new PaLM({ ...SIZE, seed: 3 });
      const actorCritic = new ActorCritic(palm, { lora: 2 });
      const optimizer = new AdamW(actorCritic.parameters(), { lr: 1e-3 });
      const prompts = Array.from({ length: 8 }, (_, row) => draw(row, 24, row));
      const batches = new Batches({ size: 8, batchSize: 8, seed: 5 });
      const options = { rolloutBatch: 8, minibatchSize: 8, sampling: { maxNewTokens: 40 }, steps: 2, epochs: 2 };
      const settings = parseConfig(
        ppoConfig,
        { ...options, sampling: { ...options.sampling, logProb: 'sampled' } },
        'test',
      );
      const rewards = (answers: readonly { response: number[] }[]) =>
        answers.map(({ response }) => response[0] as number);
      const dispose = () => {
        for (const owner of [optimizer, actorCritic, palm]) owner.dispose();
      };
      const steps = ppo({ actorCritic, optimizer, prompts, batches, reward: rewards }, settings);
      return { parameters: actorCritic.parameters(), steps, dispose };
    };
    const whole = await under(make);
    const limited = await under(make, Math.round(0.8 * whole.peak));
    expect(limited.seen.map(({ microBatch }) => microBatch)).toEqual([4, 4]);
    for (const [i, { policyLoss, valueLoss, score }] of whole.seen.entries()) {
      expect(limited.seen[i]?.policyLoss).toBeCloseTo(policyLoss, 4);
      expect(limited.seen[i]?.valueLoss).toBeCloseTo(valueLoss, 3);
      expect(limited.seen[i]?.score).toBe(score);
    }
  });
});
