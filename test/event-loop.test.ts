/** The event loop turns while native calls compute: a timer ticks between the start of each and its end. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { judge } from '../src/advantages.ts';
import { ppoLoss } from '../src/losses/policy.ts';
import { maskedMean } from '../src/losses/reductions.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

let palm: PaLM;
let folder: string;
const prompts = Array.from({ length: 8 }, (_, row) => Array.from({ length: 32 }, (_, t) => (7 * t + row) % 512));

beforeAll(async () => {
  palm = new PaLM({ numTokens: 512, dim: 256, depth: 4, heads: 4, dimHead: 64, device });
  folder = await mkdtemp(join(tmpdir(), 'palm-event-loop-'));
});
afterAll(async () => {
  palm.dispose();
  await rm(folder, { recursive: true });
});

/** How often a timer of 1 ms fires while `work` is awaited. */
async function ticksDuring(work: () => Promise<unknown>): Promise<number> {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return ticks;
}

describe('the event loop keeps running during', () => {
  it('one forward pass', async () => {
    const tokens = Array.from({ length: 16 }, () => Array.from({ length: 256 }, (_, t) => t));
    using ids = Tensor.from(tokens, { dtype: 'int64', device });
    const ticks = await ticksDuring(async () => (await palm.loss(ids, { grad: false })).dispose());
    expect(ticks).toBeGreaterThan(1);
  });

  it('one generation', async () => {
    const ticks = await ticksDuring(async () => (await palm.generate({ prompts, maxNewTokens: 64 })).dispose());
    expect(ticks).toBeGreaterThan(1);
  });

  it('one iteration of PPO', async () => {
    using trunk = palm.clone();
    using actorCritic = new ActorCritic(trunk);
    using optimizer = new AdamW(actorCritic.parameters());
    const ticks = await ticksDuring(async () => {
      using rollout = await actorCritic.rollout({ prompts, maxNewTokens: 32 });
      const scores = prompts.map((_, row) => row);
      using judgement = await judge(rollout, scores, { klWeight: 0, gamma: 1, lambda: 0.95, whiten: true });
      using now = await actorCritic.evaluate(rollout.sequence);
      const weights = { clip: 0.2, valueClip: 0.2, valueWeight: 0.1, entropyWeight: 0 };
      using loss = await ppoLoss(now, { ...rollout, ...judgement }, weights);
      await loss.backward();
      await optimizer.step();
    });
    expect(ticks).toBeGreaterThan(1);
  });

  it('the upload of a large array', async () => {
    const values = new Float32Array(32 * 1024 * 1024);
    const ticks = await ticksDuring(async () => {
      using tensor = Tensor.from(values, { shape: [1024, 32 * 1024], device });
      using means = await maskedMean(tensor);
      await means.data();
    });
    expect(ticks).toBeGreaterThan(1);
  });

  it('the saving of a model', async () => {
    expect(await ticksDuring(() => palm.save(join(folder, 'palm.safetensors')))).toBeGreaterThan(1);
  });
});
