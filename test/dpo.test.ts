/** DPO: its loss on recorded numbers, its trainer on pairs, and the contract of a trainer. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type DpoConfigInput, dpoConfig } from '../src/config/dpo.ts';
import { parseConfig } from '../src/config/schema.ts';
import type { Preference } from '../src/data/preferences.ts';
import { ArgumentError, ShapeError } from '../src/errors.ts';
import { dpoLoss } from '../src/losses/preference.ts';
import { dpoMethod } from '../src/methods/dpo.ts';
import { planPreferences } from '../src/models/memory-plan.ts';
import { PaLM } from '../src/models/palm.ts';
import { Policy } from '../src/models/policy.ts';
import { rowsOf } from '../src/tensor/rows.ts';
import { type Parameter, Tensor } from '../src/tensor/tensor.ts';
import { type DpoStep, dpo } from '../src/trainers/dpo.ts';
import { trainerContract } from './contracts/trainer.ts';
import { device } from './device.ts';
import { drain, expectNear, peakOf } from './memory/peak.ts';
import { distance } from './parity/numbers.ts';

/** Pairs whose chosen response has the lower tokens; lengths differ. */
function pair(i: number): Preference {
  const row = (length: number, min: number) => Array.from({ length }, (_, t) => min + ((i + t) % 4));
  return { prompt: row(1 + (i % 3), 3), chosen: row(2 + (i % 4), 0), rejected: row(2 + ((i + 1) % 5), 6) };
}
const pairs = (count: number, from = 0) => Array.from({ length: count }, (_, i) => pair(from + i));

function config(options: DpoConfigInput) {
  const quick = { batchSize: 4, warmupSteps: 1, evaluateEvery: 4, lr: 1e-2, lora: 4 as number | false };
  return parseConfig(dpoConfig, { ...quick, ...options }, 'test');
}

function model() {
  return new PaLM({ numTokens: 12, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2, seed: 3, device });
}

trainerContract('dpo', {
  config({ rows, steps, batchSize, accumulate }, settings) {
    const epochs = Math.ceil((steps * batchSize * accumulate) / Math.max(rows, 1));
    return config({ epochs, batchSize, accumulate, nllWeight: 0.2, evaluateEvery: 50, ...settings });
  },
  ingredients: (_, rows) => ({ model: model(), pairs: pairs(rows), validation: pairs(7, 20) }),
  resumes: { 'with all weights': { lora: false } },
});

async function train(options: DpoConfigInput): Promise<{ steps: DpoStep[]; policy: Policy }> {
  const { parts, train } = dpoMethod.assemble(config(options), {
    model: model(),
    pairs: pairs(12),
    validation: pairs(7, 20),
  });
  using _ = parts.optimizer;
  const steps: DpoStep[] = [];
  for await (const step of train()) steps.push(step);
  return { steps, policy: parts.weights };
}

describe('training by DPO', () => {
  it.each([4, false] as const)('makes chosen responses likelier than the reference does, lora %s', async (lora) => {
    const { steps } = await train({ epochs: 4, lora, beta: 0.5 });
    const [first, last] = [steps[0], steps.at(-1)] as [DpoStep, DpoStep];
    expect(first).toMatchObject({ step: 1, margin: 0, chosenReward: 0, rejectedReward: 0, accuracy: 0.5 });
    expect(first.loss).toBeCloseTo(Math.log(2), 6);
    expect(last).toMatchObject({ step: 12, accuracy: 1, validationAccuracy: 1, skipped: undefined });
    expect(last.chosenReward).toBeGreaterThan(last.rejectedReward);
    expect(last.validationLoss).toBeLessThan(first.loss);
    expect(steps.filter((step) => step.validationLoss !== undefined).map(({ step }) => step)).toEqual([4, 8, 12]);
  });

  it('reports margin as the difference of the rewards', async () => {
    const { steps } = await train({ epochs: 2 });
    for (const { margin, chosenReward, rejectedReward } of steps)
      expect(margin).toBeCloseTo(chosenReward - rejectedReward, 5);
  });

  it('leaves the reference as it was', async () => {
    const { policy } = await train({ epochs: 2, lora: false });
    using trained = await policy.logProb([[1, 2, 3]], { grad: false });
    using reference = await policy.referenceLogProb([[1, 2, 3]]);
    using fresh = await new Policy(model()).logProb([[1, 2, 3]], { grad: false });
    expect(await reference.data()).toEqual(await fresh.logProb.data());
    expect(await trained.logProb.data()).not.toEqual(await reference.data());
  });

  it.each([8, false] as const)('needs the memory that is planned for it, lora %s', async (lora) => {
    const sizes = { numTokens: 260, dim: 256, depth: 3, heads: 4, dimHead: 32, ffMult: 3, device };
    using planned = new PaLM(sizes);
    const long = (from: number) => Array.from({ length: 128 }, (_, t) => (from + t) % 260);
    const some = Array.from({ length: 3 }, (_, i) => ({ prompt: long(i), chosen: long(i + 1), rejected: long(i + 2) }));
    const measured = await peakOf(async () => {
      using model = new PaLM(sizes);
      const { parts, train } = dpoMethod.assemble(config({ lora, batchSize: 3 }), { model, pairs: some });
      using _policy = parts.weights;
      using _optimizer = parts.optimizer;
      await drain(train());
    });
    expectNear(planPreferences(planned.decoder, { batchSize: 3, length: 256, lora }), measured);
  });

  it('refuses a policy without a reference', async () => {
    const { parts } = dpoMethod.assemble(config({}), { model: model(), pairs: pairs(4) });
    const policy = new Policy(model(), { lora: false });
    const steps = dpo({ ...parts, policy, pairs: pairs(4) }, config({ lora: false }));
    await expect(steps.next()).rejects.toMatchObject({ argument: 'parts.policy', received: /without a reference/ });
  });
});

interface Golden {
  inputs: Record<'logProb' | 'referenceLogProb' | 'mask', number[][]>;
  cases: {
    name: string;
    options: { beta: number; nllWeight?: number };
    loss: number;
    metrics: Record<string, number>;
    gradient: { logProb: number[][] };
  }[];
}
const golden: Golden = JSON.parse(readFileSync(new URL('fixtures/methods/dpo.json', import.meta.url), 'utf8'));

describe.each([
  ['float64', Float64Array, 1e-9],
  ['float32', Float32Array, 1e-5],
] as const)('dpoLoss in %s', (dtype, Floats, tolerance) => {
  const shape = [golden.inputs.mask.length, golden.inputs.mask[0]?.length ?? 0];
  const tensor = (rows: number[][]) => Tensor.from(Floats.from(rows.flat()), { shape, dtype, device });
  const mask = Tensor.from(Uint8Array.from(golden.inputs.mask.flat()), { shape, dtype: 'bool', device });

  const lossOf = async (logProb: Parameter, rows: readonly number[], options: Parameters<typeof dpoLoss>[3]) => {
    using leaf = await logProb.leaf();
    using given = await rowsOf({ logProb: leaf, reference, mask }, rows);
    return await dpoLoss(given.logProb, given.reference, given.mask, options);
  };
  const reference = tensor(golden.inputs.referenceLogProb);
  const all = golden.inputs.mask.map((_, row) => row);

  it.each(golden.cases)('gives the recorded loss, metrics and gradient: $name', async ({ options, ...expected }) => {
    const logProb = Tensor.parameter(Floats.from(golden.inputs.logProb.flat()), { shape, dtype, device });
    using loss = await lossOf(logProb, all, { nllWeight: 0, ...options });
    expect(Math.abs((await loss.item()) - expected.loss)).toBeLessThanOrEqual(tolerance * Math.max(1, expected.loss));
    const metrics: Record<string, number> = await loss.metrics();
    for (const [name, number] of Object.entries(expected.metrics))
      expect(Math.abs((metrics[name] as number) - number), name).toBeLessThanOrEqual(1e-6);
    await loss.backward();
    expect(distance(await gradientOf(logProb), expected.gradient.logProb.flat())).toBeLessThanOrEqual(tolerance);
  });

  it('adds up over pieces that are given the counts of the whole', async () => {
    const counts = golden.inputs.mask.map((row) => row.reduce((sum, real) => sum + real, 0));
    const chosen = counts.slice(0, counts.length / 2).reduce((sum, count) => sum + count, 0);
    const options = { beta: 0.5, nllWeight: 0.2, denominator: 3, nllDenominator: chosen };
    const whole = Tensor.parameter(Floats.from(golden.inputs.logProb.flat()), { shape, dtype, device });
    using loss = await lossOf(whole, all, { beta: 0.5, nllWeight: 0.2 });
    await loss.backward();
    const pieced = Tensor.parameter(Floats.from(golden.inputs.logProb.flat()), { shape, dtype, device });
    let sum = 0;
    let accuracy = 0;
    for (const rows of [
      [0, 3],
      [1, 2, 4, 5],
    ]) {
      using share = await lossOf(pieced, rows, options);
      await share.backward();
      sum += await share.item();
      accuracy += (await share.metrics()).accuracy;
    }
    expect(Math.abs(sum - (await loss.item()))).toBeLessThanOrEqual(tolerance);
    expect(accuracy).toBeCloseTo((await loss.metrics()).accuracy, 6);
    expect(distance(await gradientOf(pieced), await gradientOf(whole))).toBeLessThanOrEqual(tolerance);
  });
});

async function gradientOf(parameter: Parameter): Promise<number[]> {
  using gradient = await parameter.grad();
  return Array.from((await gradient?.data()) ?? [], Number);
}

it('dpoLoss refuses rows that are no pairs, and shapes that differ', async () => {
  using three = Tensor.from(new Float32Array(6), { shape: [3, 2], device });
  using two = Tensor.from(new Float32Array(4), { shape: [2, 2], device });
  const options = { beta: 0.1, nllWeight: 0 };
  const mask = (rows: number) => Array.from({ length: rows }, () => [false, true]);
  await expect(dpoLoss(three, three, mask(3), options)).rejects.toBeInstanceOf(ShapeError);
  await expect(dpoLoss(two, three, mask(2), options)).rejects.toBeInstanceOf(ShapeError);
  await expect(dpoLoss(two, two, mask(2), undefined as never)).rejects.toBeInstanceOf(ArgumentError);
});
