/** Actor and critic: what is sampled is what is evaluated, the reference stays, and files hold the policy. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { loadTensors, saveTensors } from '../src/tensor/tensor-files.ts';
import { judge } from '../src/advantages.ts';
import { experienceRows, ppoLoss } from '../src/losses/policy.ts';
import { AdamW } from '../src/optim.ts';
import { PaLM } from '../src/models/palm.ts';
import type { Parameter, Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';

const SIZE = { numTokens: 19, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, device };
const PROMPTS = [[1, 2, 3], [4], [5, 6]];
const SAMPLING = { prompts: PROMPTS, maxNewTokens: 8, eosToken: 0, samplesPerPrompt: 2, temperature: 0.8, seed: 5 };
const LOSS = { clip: 0.2, valueClip: 0.2, valueWeight: 0.1, entropyWeight: 0.01 };
const JUDGE = { klWeight: 0.1, gamma: 1, lambda: 0.95, whiten: true };
const folder = mkdtempSync(join(tmpdir(), 'palm-actor-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function numbers(tensor: Tensor): Promise<number[]> {
  return Array.from(await tensor.data(), Number);
}

async function values(parameters: Parameter[]): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of parameters) for (const value of await parameter.data()) all.push(Number(value));
  return all;
}

/** One iteration of PPO with a reward that likes long answers. */
async function iterate(actorCritic: ActorCritic, optimizer: AdamW, reference: boolean) {
  using rollout = await actorCritic.rollout({ ...SAMPLING, reference });
  const score = [3, 1, 2, 0, 1, 5];
  using judgement = await judge(rollout, score, JUDGE);
  const experience = { ...rollout, ...judgement };
  using now = await actorCritic.evaluate(rollout.sequence, { temperature: SAMPLING.temperature });
  using loss = await ppoLoss(now, experience, LOSS);
  await loss.backward();
  await optimizer.step({ maxGradNorm: 1 });
  optimizer.zeroGrad();
  return { loss: await loss.metrics(), judged: await judgement.metrics() };
}

describe.each([
  ['LoRA', { lora: 4 }],
  ['all weights', { lora: false, reference: true }],
] as const)('%s', (_name, options) => {
  it('rolls out prompts, responses and padding, evaluated by actor, critic and reference', async () => {
    using palm = new PaLM(SIZE);
    using actorCritic = new ActorCritic(palm, options);
    expect(actorCritic.hasReference).toBe(true);
    using rollout = await actorCritic.rollout({ ...SAMPLING, reference: true });
    const [rows, width] = rollout.sequence.shape as [number, number];
    expect(rows).toBe(6);
    const [sequence, mask, sampler, log, reference, value] = await Promise.all(
      [
        rollout.sequence,
        rollout.responseMask,
        rollout.samplerLogProb,
        rollout.rolloutLogProb,
        rollout.referenceLogProb,
        rollout.rolloutValue,
      ].map(numbers),
    );
    for (let row = 0; row < rows; row++) {
      const prompt = PROMPTS[Math.floor(row / 2)] as number[];
      expect(sequence?.slice(row * width, row * width + prompt.length)).toEqual(prompt);
    }
    for (const [i, inResponse] of (mask as number[]).entries()) {
      if (!inResponse) continue;
      expect(sampler?.[i]).toBeCloseTo(log?.[i] as number, 4);
      expect(reference?.[i]).toBeCloseTo(log?.[i] as number, 5);
      expect(value?.[i]).toBe(0);
    }
  });

  it('gives the log-probs of the rollout bit for bit when its pieces are evaluated', async () => {
    using palm = new PaLM(SIZE);
    using actorCritic = new ActorCritic(palm, options);
    using optimizer = new AdamW(actorCritic.parameters(), { lr: 0.01 });
    await iterate(actorCritic, optimizer, true);
    const pieces = [
      [4, 0, 2],
      [1, 5, 3],
    ];
    using rollout = await actorCritic.rollout({ ...SAMPLING, pieces });
    using judgement = await judge(rollout, [0, 1, 2, 3, 4, 5], JUDGE);
    for (const rows of pieces) {
      using piece = await experienceRows({ ...rollout, ...judgement }, rows);
      using now = await actorCritic.evaluate(piece.sequence, { temperature: SAMPLING.temperature });
      using loss = await ppoLoss(now, piece, LOSS);
      expect((await loss.metrics()).maxLogRatio).toBe(0);
    }
  });

  it('moves the policy but not the reference in training', async () => {
    using palm = new PaLM(SIZE);
    using actorCritic = new ActorCritic(palm, options);
    using optimizer = new AdamW(actorCritic.parameters(), { lr: 0.02 });
    const first = await iterate(actorCritic, optimizer, true);
    expect(first.judged.kl).toBeCloseTo(0, 4);
    expect(first.judged.score).toBeCloseTo(2, 5);
    expect(first.judged.responseLength).toBeGreaterThan(0);
    const before = await values(palm.parameters());
    for (let step = 0; step < 4; step++) await iterate(actorCritic, optimizer, true);
    const last = await iterate(actorCritic, optimizer, true);
    expect(Math.abs(last.judged.kl)).toBeGreaterThan(1e-3);
    const after = await values(palm.parameters());
    if (options.lora) expect(after).toEqual(before);
    else expect(after).not.toEqual(before);
  });

  it('is restored from its file, and PaLM.load reads its policy', async () => {
    const path = join(folder, `${JSON.stringify(options)}.safetensors`);
    using palm = new PaLM(SIZE);
    using actorCritic = new ActorCritic(palm, options);
    using optimizer = new AdamW(actorCritic.parameters(), { lr: 0.02 });
    await iterate(actorCritic, optimizer, true);
    await saveTensors(path, actorCritic.contents());

    using fresh = new PaLM({ ...SIZE, seed: 9 });
    using again = new ActorCritic(fresh, options);
    await loadTensors(path, again.contents().tensors);
    expect(await values(again.parameters())).toEqual(await values(actorCritic.parameters()));

    using policy = await PaLM.load(path, { device });
    const scope = options.lora ? 'actor' : undefined;
    using ours = await palm.forward(PROMPTS.slice(0, 1), { scope });
    using theirs = await policy.forward(PROMPTS.slice(0, 1), { scope });
    expect(await numbers(theirs.logits)).toEqual(await numbers(ours.logits));
  });
});

describe('ActorCritic.evaluate', () => {
  it('refuses the temperature 0', async () => {
    using palm = new PaLM(SIZE);
    using actorCritic = new ActorCritic(palm);
    await expect(actorCritic.evaluate([[1, 2]], { temperature: 0 })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });

  it('refuses a model with dropout on', async () => {
    using palm = new PaLM({ ...SIZE, ffDropout: 0.1 });
    using actorCritic = new ActorCritic(palm);
    palm.train();
    await expect(actorCritic.evaluate([[1, 2]])).rejects.toThrow(/model\.eval/);
  });
});
