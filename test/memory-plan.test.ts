/** What a plan says is what the allocator measured, within 15 %. */
import { afterAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { type PpoConfigInput, ppoConfig } from '../src/config/ppo.ts';
import { pretrainConfig } from '../src/config/pretrain.ts';
import { rewardConfig } from '../src/config/reward.ts';
import { parseConfig } from '../src/config/schema.ts';
import { Batches } from '../src/data/batches.ts';
import { Windows } from '../src/data/text.ts';
import { planPpo, planPretraining, planReward } from '../src/models/memory-plan.ts';
import { addon } from '../src/native/addon.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM, type PalmConfigInput } from '../src/models/palm.ts';
import { RewardModel } from '../src/models/reward-model.ts';
import { ppo } from '../src/trainers/ppo.ts';
import { pretrain } from '../src/trainers/pretrain.ts';
import { reward } from '../src/trainers/reward.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';

// The allocator that is asked is the CPU's; blocks below 256 KiB are not counted, so sizes are such that most are larger.
const SIZE = { numTokens: 260, dim: 256, depth: 3, heads: 4, dimHead: 32, ffMult: 3 };
const PRECISIONS = ['float32', 'bfloat16'] as const;
const LEVELS = ['none', 'selective', 'full'] as const;
const EVERY = PRECISIONS.flatMap((dtype) => LEVELS.map((recompute) => ({ dtype, recompute })));

async function measurePretraining(options: Partial<PalmConfigInput>, run: { batchSize: number; length: number }) {
  return await peakOf(async () => {
    using palm = new PaLM({ ...SIZE, ...options });
    using optimizer = new AdamW(palm.parameters());
    const tokens = Int32Array.from({ length: run.length * run.batchSize * 2 + 1 }, (_, i) => (i * i) % SIZE.numTokens);
    const text = new Windows(tokens, run.length);
    const batches = new Batches({ size: text.size, batchSize: run.batchSize, seed: 0 });
    const config = parseConfig(pretrainConfig, { steps: 1, batchSize: run.batchSize }, 'test');
    await drain(pretrain({ model: palm, optimizer, text, batches }, config));
  });
}

describe('the plan of pretraining matches the memory used', () => {
  const run = { batchSize: 4, length: 256 };

  it.each(EVERY)('$dtype, recompute $recompute', async (options) => {
    using palm = new PaLM({ ...SIZE, ...options });
    expectNear(planPretraining(palm.decoder, run), await measurePretraining(options, run));
  });

  it('with a large vocabulary, where the head dominates', async () => {
    const options = { numTokens: 20000, depth: 1 };
    using palm = new PaLM({ ...SIZE, ...options });
    expectNear(planPretraining(palm.decoder, run), await measurePretraining(options, run));
  });

  it.each([{ attnDropout: 0.1, ffDropout: 0.1 }, { qkRmsnorm: true }, { dtype: 'float64' }] as const)(
    'without fused kernels: %o',
    async (options) => {
      using palm = new PaLM({ ...SIZE, ...options });
      expectNear(planPretraining(palm.decoder, run), await measurePretraining(options, run));
    },
  );
});

describe('the plan of a reward model matches the memory used', () => {
  const pair = (i: number) => ({ prompt: Array(96).fill(i), chosen: Array(160).fill(1), rejected: Array(130).fill(2) });
  const pairs = Array.from({ length: 3 }, (_, i) => pair(i));

  async function measure(options: Partial<PalmConfigInput>, lora: number | false, dropout: number): Promise<number> {
    return await peakOf(async () => {
      using palm = new PaLM({ ...SIZE, ...options });
      using rewardModel = new RewardModel(palm, { lora, dropout });
      if (lora === false) palm.dispose();
      using optimizer = new AdamW(rewardModel.parameters());
      const batches = new Batches({ size: pairs.length, batchSize: 3, seed: 0 });
      const config = parseConfig(rewardConfig, { batchSize: 3, epochs: 1, lora, dropout }, 'test');
      await drain(reward({ rewardModel, optimizer, pairs, batches }, config));
    });
  }

  it.each(EVERY)('$dtype, recompute $recompute', async (options) => {
    using palm = new PaLM({ ...SIZE, ...options });
    const run = { batchSize: 3, length: 256, lora: 8, dropout: 0 };
    expectNear(planReward(palm.decoder, run), await measure(options, 8, 0));
  });

  it.each([
    [false, 0],
    [8, 0.1],
  ] as const)('with lora %s and dropout %s', async (lora, dropout) => {
    using palm = new PaLM(SIZE);
    const run = { batchSize: 3, length: 256, lora, dropout };
    expectNear(planReward(palm.decoder, run), await measure({}, lora, dropout));
  });
});

describe('the plan of PPO matches the memory used', () => {
  const prompts = Array.from({ length: 8 }, (_, i) => Array(32).fill(i));

  async function measure(options: Partial<PalmConfigInput>, config: PpoConfigInput, judged: boolean): Promise<number> {
    const parsed = parseConfig(ppoConfig, config, 'test');
    const { lora, klWeight, rolloutBatch } = parsed;
    const { numLayersUnfrozen } = parsed.optimisation;
    const rows = rolloutBatch * parsed.sampling.samplesPerPrompt;
    return await peakOf(async () => {
      using palm = new PaLM({ ...SIZE, ...options });
      using trunk = judged ? new PaLM({ ...SIZE, ...options }) : undefined;
      using judge = trunk && new RewardModel(trunk);
      using actorCritic = new ActorCritic(palm, { lora, reference: klWeight > 0, numLayersUnfrozen });
      using optimizer = new AdamW(actorCritic.parameters());
      const batches = new Batches({ size: prompts.length, batchSize: rolloutBatch, seed: 0 });
      const parts = { actorCritic, optimizer, prompts, batches, reward: judge ?? (() => Array(rows).fill(1)) };
      await drain(ppo(parts, parsed));
    });
  }

  const shape = { rolloutBatch: 8, minibatchSize: 8 };
  const sampling = { samplesPerPrompt: 2, maxNewTokens: 96 };
  const planned = { ...shape, ...sampling, promptLength: 32 };
  const run = (lora: number | false) => ({
    ...shape,
    ...{ sampling, steps: 1, epochs: 1, critic: { warmup: 0 }, klWeight: 0.1, lora }, // the critic alone would need less
  });

  it.each(EVERY)('$dtype, recompute $recompute', async (options) => {
    using palm = new PaLM({ ...SIZE, ...options });
    const plan = planPpo(palm.decoder, { ...planned, lora: 8, reference: true, reward: palm.decoder });
    expectNear(plan, await measure(options, run(8), true));
  });

  it.each([8, false] as const)('with a large vocabulary and lora %s', async (lora) => {
    const options = { numTokens: 20000, depth: 1 };
    using palm = new PaLM({ ...SIZE, ...options });
    const plan = planPpo(palm.decoder, { ...planned, lora, reference: true });
    expectNear(plan, await measure(options, run(lora), false));
  });

  it('with all weights trained, a reference policy and a reward function', async () => {
    using palm = new PaLM(SIZE);
    const plan = planPpo(palm.decoder, { ...planned, lora: false, reference: true });
    expectNear(plan, await measure({}, run(false), false));
  });

  it.each([{}, { numTokens: 20000 }])('with the top layer trained, and a reference policy: %o', async (options) => {
    using palm = new PaLM({ ...SIZE, ...options });
    const plan = planPpo(palm.decoder, { ...planned, lora: false, numLayersUnfrozen: 1, reference: true });
    const config = { ...run(false), optimisation: { numLayersUnfrozen: 1 } };
    expectNear(plan, await measure(options, config, false));
  });
});

describe('the plan of sampling matches the memory used', () => {
  it.each([
    { name: 'reading prompts', rolloutBatch: 16, samplesPerPrompt: 1, promptLength: 200, maxNewTokens: 2 },
    { name: 'sampling', rolloutBatch: 16, samplesPerPrompt: 16, promptLength: 64, maxNewTokens: 8 },
  ])('$name', async ({ name, ...sizes }) => {
    using palm = new PaLM(SIZE);
    const { always, moments } = planPpo(palm.decoder, { ...sizes, minibatchSize: 1, lora: 8, reference: true });
    // The weights for decoding are packed once the prompts are read.
    const needed = name === 'sampling' ? ['model', 'weights for decoding'] : ['model'];
    const held = always.filter(({ what }) => needed.includes(what));
    const during = moments.filter((moment) => moment.name === name).flatMap(({ items }) => items);
    const totalBytes = [...held, ...during].reduce((total, { bytes }) => total + bytes, 0);

    const { rolloutBatch, promptLength, ...drawn } = sizes;
    const measured = await peakOf(async () => {
      using own = new PaLM(SIZE);
      const prompts = Array.from({ length: rolloutBatch }, () => Array<number>(promptLength).fill(1));
      using _ = await own.generate({ prompts, ...drawn, seed: 1 });
    });
    expectNear({ always, moments, totalBytes }, measured);
  });
});

describe('a plan', () => {
  it('is the sum of permanent memory and the largest phase', () => {
    using palm = new PaLM(SIZE);
    const { always, moments, totalBytes } = planPretraining(palm.decoder, { batchSize: 2, length: 64 });
    const bytes = (items: { bytes: number }[]) => items.reduce((total, item) => total + item.bytes, 0);
    expect(totalBytes).toBe(bytes(always) + Math.max(...moments.map(({ items }) => bytes(items))));
    for (const item of [...always, ...moments.flatMap(({ items }) => items)]) {
      expect(item.bytes).toBeGreaterThan(0);
      expect(item.how).not.toBe('');
    }
  });
});

describe('without kernels', () => {
  afterAll(() => addon().useKernels(true));

  it('frees a graph that is never differentiated', async () => {
    for (const kernels of [true, false]) {
      await addon().useKernels(kernels);
      await peakOf(async () => {
        using palm = new PaLM(SIZE);
        using actorCritic = new ActorCritic(palm);
        using _evaluation = await actorCritic.evaluate([Array(128).fill(1)]);
        using _loss = await palm.loss([Array(128).fill(1)]);
      });
    }
  });
});
