/** FlowRL: the contract of a trainer, the head for log Z and its files, and the optimum that its loss has. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ArgumentError, ConfigError } from '../src/errors.ts';
import { flowrlLoss } from '../src/losses/flowrl.ts';
import { flowrlMethod } from '../src/methods/flowrl.ts';
import { withPartition } from '../src/models/flowrl-plan.ts';
import { FlowrlPolicy } from '../src/models/flowrl-policy.ts';
import { planPpo } from '../src/models/memory-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy } from '../src/models/policy.ts';
import { AdamW } from '../src/optim.ts';
import { openSafetensors } from '../src/files/safetensors/safetensors.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { saveTensors } from '../src/tensor/tensor-files.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { ANSWERS, distance, probabilities, PROMPTS, rewardsOf, startingModel } from './learning/bandit.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';
import { configOf, EOS, fives, policySubject, scoreOf, smallModel, stepsOf } from './policies.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-flowrl-'));
afterAll(() => rmSync(folder, { recursive: true }));

trainerContract('flowrl', {
  ...policySubject('flowrl'),
  resumes: { 'with all weights and a flatter target': { lora: false, loss: { beta: 1 } } },
});

describe('training by FlowRL', () => {
  it('earns more from its reward', async () => {
    const sampling = { maxNewTokens: 6, samplesPerPrompt: 8 };
    const steps = await stepsOf('flowrl', { sampling, minibatchSize: 24, steps: 20, lora: false });
    expect(scoreOf(steps.slice(-3))).toBeGreaterThan(scoreOf(steps.slice(0, 3)) + 0.3);
  });

  it('stays at the reference where all scores are alike', async () => {
    const steps = await stepsOf('flowrl', { steps: 2, epochs: 1 }, (answers) => answers.map(() => 0.1));
    for (const { gradNorm, balance, logPartition } of steps) {
      expect(gradNorm).toBeLessThan(1e-5);
      expect(balance).toBeCloseTo(0, 6);
      expect(logPartition).toBeCloseTo(0, 6);
    }
  });

  it('keeps the answers to a prompt in one minibatch', async () => {
    const config = { sampling: { samplesPerPrompt: 5 }, minibatchSize: 12 };
    await expect(stepsOf('flowrl', config)).rejects.toThrow(ConfigError);
  });

  it('refuses a policy without the head', async () => {
    using model = smallModel();
    using policy = new Policy(model, { reference: true });
    const ingredients = { policy: policy as FlowrlPolicy, reward: fives, prompts: [[2]], eosToken: EOS };
    const { parts, train } = flowrlMethod.assemble(configOf('flowrl', {}), ingredients);
    using _ = parts.optimizer;
    await expect(train().next()).rejects.toThrow(ArgumentError);
  });
});

describe('the policy of FlowRL', () => {
  it.each([16, 40])('has a head for a model of width %d, starts at log Z = 0 and keeps its reference', async (dim) => {
    using model = new PaLM({ numTokens: 16, dim, depth: 1, heads: 2, dimHead: 8, seed: 3, device });
    using policy = new FlowrlPolicy(model, { lora: false });
    expect(policy.hasReference).toBe(true);
    const heads = policy.parameters().filter(({ name }) => name.startsWith('partition.'));
    expect(heads.map(({ shape }) => shape)).toEqual([[2 * dim, dim], [2 * dim], [1, 2 * dim], [1]]);
    using now = await policy.evaluate([[1, 2, 3]], [[0, 0, 1]]);
    using plain = await policy.logProb([[1, 2, 3]]);
    expect(Array.from(await now.logPartition.data(), Number)).toEqual([0]);
    expect(await now.logProb.data()).toEqual(await plain.logProb.data());
  });

  it('reads log Z from the prompt alone, whatever the response and the padding', async () => {
    using model = smallModel();
    using policy = new FlowrlPolicy(model, { lora: 4 });
    await fill(policy);
    const rows = [
      [1, 2, 3, 4, 0],
      [1, 2, 9, 0, 0],
      [1, 7, 3, 4, 0],
    ];
    const mask = [
      [0, 0, 1, 1, 0],
      [0, 0, 1, 0, 0],
      [0, 0, 1, 1, 0],
    ];
    using now = await policy.evaluate(rows, mask, { grad: false });
    const [one, same, other] = Array.from(await now.logPartition.data(), Number) as [number, number, number];
    expect(same).toBeCloseTo(one, 6);
    expect(Math.abs(other - one)).toBeGreaterThan(1e-4);
  });

  it('is saved with its head, in a file that loads as a language model', async () => {
    using model = smallModel();
    using policy = new FlowrlPolicy(model, { lora: 4 });
    const path = join(folder, 'policy.safetensors');
    await saveTensors(path, policy.contents());
    {
      await using file = await openSafetensors(path);
      const names = [...file.entries.keys()].filter((name) => name.startsWith('partition.'));
      expect(names.sort()).toEqual(
        ['input.bias', 'input.weight', 'output.bias', 'output.weight'].map((name) => `partition.${name}`),
      );
    }
    using loaded = await PaLM.load(path);
    expect(loaded.scopes).toEqual(['actor']);
  });
});

/** Moves the head away from 0, by a step towards a reference that finds everything likely. */
async function fill(policy: FlowrlPolicy): Promise<void> {
  using optimizer = new AdamW(policy.parameters(), { lr: 0.1 });
  const sequence = [
    [1, 2, 3],
    [1, 2, 4],
  ];
  using responseMask = maskOf(sequence);
  using now = await policy.evaluate(sequence, responseMask);
  using referenceLogProb = Tensor.from(new Float32Array(6), { shape: [2, 3], device });
  const rollout = { rolloutLogProb: referenceLogProb, referenceLogProb, responseMask };
  using loss = await flowrlLoss(now, rollout, [0, 1], { samplesPerPrompt: 2, beta: 1, clip: 0.2, clipHigh: 0.28 });
  await loss.backward();
  await optimizer.step();
}

/** True at the last token of each row. */
function maskOf(sequence: readonly (readonly number[])[]): Tensor {
  const flags = sequence.flatMap((row) => row.map((_, t) => Number(t === row.length - 1)));
  const shape = [sequence.length, (sequence[0] as number[]).length];
  return Tensor.from(Uint8Array.from(flags), { shape, dtype: 'bool', device });
}

it('has its optimum at the reference weighted by exp(β · score), where the head gives log Z', async () => {
  const beta = 1;
  const rewards = rewardsOf(0);
  using model = startingModel(0);
  const before = await probabilities(model);
  using policy = new FlowrlPolicy(model, { lora: false });
  using optimizer = new AdamW(policy.parameters(), { lr: 1e-2 });
  const sequence = PROMPTS.flatMap(([prompt]) =>
    Array.from({ length: ANSWERS }, (_, answer) => [prompt as number, answer]),
  );
  using responseMask = maskOf(sequence);
  using referenceLogProb = await policy.referenceLogProb(sequence);
  const rollout = { rolloutLogProb: referenceLogProb, referenceLogProb, responseMask };
  const options = { samplesPerPrompt: ANSWERS, beta, clip: 0.2, clipHigh: 0.28 };
  for (let step = 0; step < 400; step++) {
    using now = await policy.evaluate(sequence, responseMask);
    using loss = await flowrlLoss(now, rollout, rewards.flat(), options);
    await loss.backward();
    optimizer.learningRate = 1e-2 * (1 - step / 400);
    await optimizer.step();
    optimizer.zeroGrad();
  }
  const weights = before.map((row, prompt) => {
    const own = rewards[prompt] as number[];
    const mean = own.reduce((sum, reward) => sum + reward / ANSWERS, 0);
    const std = Math.sqrt(own.reduce((sum, reward) => sum + (reward - mean) ** 2 / (ANSWERS - 1), 0));
    return row.map((p, answer) => p * Math.exp((beta * ((own[answer] as number) - mean)) / std));
  });
  const partition = weights.map((row) => row.reduce((sum, weight) => sum + weight, 0));
  const best = weights.map((row, prompt) => row.map((weight) => weight / (partition[prompt] as number)));
  expect(distance(best, before)).toBeGreaterThan(0.1); // there is something to learn
  expect(distance(await probabilities(model), best)).toBeLessThan(0.005);
  using now = await policy.evaluate(sequence, responseMask, { grad: false });
  const logPartition = Array.from(await now.logPartition.data(), Number).filter((_, row) => row % ANSWERS === 0);
  for (const [prompt, found] of logPartition.entries())
    expect(found).toBeCloseTo(Math.log(partition[prompt] as number), 2);
});

it.each([8, false] as const)('needs the memory that its plan says, with lora %s', async (lora) => {
  const SIZE = { numTokens: 260, dim: 256, depth: 2, heads: 4, dimHead: 64, seed: 3 };
  const sampling = { maxNewTokens: 64, samplesPerPrompt: 8 };
  const prompts = Array.from({ length: 4 }, (_, i) => Array.from({ length: 32 }, (_, t) => 1 + i + t));
  const options = { steps: 1, epochs: 1, rolloutBatch: 4, minibatchSize: 16, sampling, lora };
  const measured = await peakOf(async () => {
    using model = new PaLM(SIZE);
    using policy = new FlowrlPolicy(model, { lora });
    const { parts, train } = flowrlMethod.assemble(configOf('flowrl', options), { policy, reward: fives, prompts });
    using _ = parts.optimizer;
    await drain(train());
  });
  using planned = new PaLM(SIZE);
  const run = { ...options, ...sampling, promptLength: 32, reference: true, critic: false };
  expectNear(withPartition(planPpo(planned.decoder, run), planned.decoder), measured);
});
