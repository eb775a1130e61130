/**
 * The fused kernels against their ATen references, forward and backward. Float32 is compared with float64; bfloat16, whose
 * rounding errors are not small, must be about as near to float64 as the reference is.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../src/models/actor-critic.ts';
import { ppoLoss } from '../src/losses/policy.ts';
import { addon } from '../src/native/addon.ts';
import { AdamW } from '../src/optim.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';
import { againWithOtherInstructions } from './instruction-sets.ts';
import { drawn, ids, normals, palmOf, palmShapes, type Size } from './parity/weights.ts';
import { distance, type Numbers, numbersOf, readings, representable, withKernels } from './readings.ts';

// Heads and widths that no vector divides, one head, one pair, and tiles of queries that end in the middle of a batch.
const SIZES: Record<string, { size: Size; batch: number; time: number }> = {
  'odd everywhere': { size: { numTokens: 19, dim: 24, depth: 2, heads: 3, dimHead: 6, ffMult: 3 }, batch: 2, time: 9 },
  'one of each': { size: { numTokens: 2, dim: 3, depth: 1, heads: 1, dimHead: 2, ffMult: 1 }, batch: 1, time: 2 },
  'several tiles': { size: { numTokens: 37, dim: 33, depth: 1, heads: 7, dimHead: 10, ffMult: 2 }, batch: 3, time: 71 },
  'wide heads': { size: { numTokens: 300, dim: 16, depth: 2, heads: 2, dimHead: 70, ffMult: 1 }, batch: 1, time: 130 },
  'more heads than a tile': {
    size: { numTokens: 5, dim: 8, depth: 1, heads: 100, dimHead: 4, ffMult: 1 },
    batch: 2,
    time: 5,
  },
};

describe.each(Object.entries(SIZES))('a block that is %s', (_name, { size, batch, time }) => {
  const tokens = Array.from({ length: batch }, (_, row) => ids(time, size.numTokens, row + 1));

  it.each([undefined, 'actor'])('in float32, through the scope %s', async (scope) => {
    const weights = drawn(palmShapes(size, { actor: 2 }), 7);
    const read = async (dtype: 'float32' | 'float64') => {
      using palm = await palmOf(weights, { ...size, dtype });
      return await readings(palm, tokens, scope);
    };
    const truth = await read('float64');
    const fused = await read('float32');
    expect(Object.keys(fused)).toEqual(Object.keys(truth));
    for (const [name, numbers] of Object.entries(truth)) {
      expect(distance(fused[name] as number[], numbers), name).toBeLessThan(2e-5);
    }
  });

  it.each([undefined, 'actor'])('in bfloat16, through the scope %s', async (scope) => {
    const weights = representable(drawn(palmShapes(size, { actor: 2 }), 11));
    const read = async (dtype: 'bfloat16' | 'float64', on: boolean) => {
      using palm = await palmOf(weights, { ...size, dtype });
      return await withKernels(on, () => readings(palm, tokens, scope));
    };
    const truth = await read('float64', true);
    const reference = await read('bfloat16', false);
    const fused = await read('bfloat16', true);
    for (const [name, numbers] of Object.entries(truth)) {
      const allowed = 2 * distance(reference[name] as number[], numbers) + 5e-3;
      expect(distance(fused[name] as number[], numbers), name).toBeLessThan(allowed);
    }
  });
});

it('uses the kernels until they are switched off', async () => {
  const { size } = SIZES['several tiles'] as (typeof SIZES)[string];
  using palm = await palmOf(drawn(palmShapes(size), 1), { ...size, dtype: 'bfloat16' });
  const logits = async () => {
    using output = await palm.forward([ids(31, size.numTokens, 1)]);
    return Array.from(await output.logits.data(), Number);
  };
  const [fused, again, reference] = [await logits(), await logits(), await withKernels(false, logits)];
  expect(again).toEqual(fused);
  expect(reference).not.toEqual(fused); // bfloat16 rounds in other places
});

it.each([1, 0.7])('gives log-probabilities and entropies correct gradients at temperature %d', async (temperature) => {
  const { size } = SIZES['wide heads'] as (typeof SIZES)[string];
  const weights = drawn(palmShapes(size), 9);
  const sequence = [ids(12, size.numTokens, 1), ids(12, size.numTokens, 2)];
  const normal = normals(5);
  const rows = () => sequence.map((row) => row.map(() => normal()));
  const [rolloutValue, advantage, returns] = [rows(), rows(), rows()];
  const read = async (dtype: 'float32' | 'float64') => {
    using palm = await palmOf(weights, { ...size, dtype });
    using actorCritic = new ActorCritic(palm, { lora: false });
    using now = await actorCritic.evaluate(sequence, { temperature });
    const all: Numbers = {};
    for (const name of ['logProb', 'entropy'] as const) all[name] = Array.from(await now[name].data(), Number);
    const zeros = rows().map((row) => row.map(() => 0));
    const experience = {
      sequence: Tensor.from(sequence, { dtype: 'int64', device }),
      responseMask: Tensor.from(
        zeros.map((row) => row.map((_, t) => t > 3)),
        { device },
      ),
      samplerLogProb: Tensor.from(zeros, { device }),
      rolloutLogProb: Tensor.from(zeros, { device }),
      referenceLogProb: Tensor.from(zeros, { device }),
      rolloutValue: Tensor.from(rolloutValue, { device }),
      advantage: Tensor.from(advantage, { device }),
      returns: Tensor.from(returns, { device }),
    };
    const options = { clip: 1e3, valueClip: 0.2, valueWeight: 1, entropyWeight: 0.5 };
    using loss = await ppoLoss(now, experience, options);
    await loss.backward();
    for (const tensor of Object.values(experience)) tensor.dispose();
    for (const parameter of palm.parameters()) all[parameter.name] = await numbersOf(await parameter.grad());
    return all;
  };
  const [fused, truth] = [await read('float32'), await read('float64')];
  for (const [name, numbers] of Object.entries(truth)) {
    expect(distance(fused[name] as number[], numbers), name).toBeLessThan(1e-4);
  }
});

describe('AdamW', () => {
  const step = async (dtype: 'float32' | 'bfloat16', on: boolean, gradients: number[][]) =>
    withKernels(on, async () => {
      const normal = normals(3);
      const start = Array.from({ length: 1003 }, () => normal());
      using parameter = Tensor.parameter(start, { dtype, device });
      using optimizer = new AdamW([parameter], { lr: 0.01, weightDecay: 0.1 });
      for (const gradient of gradients) {
        using grad = Tensor.from(gradient, { dtype, device });
        await parameter.setGrad(grad);
        await optimizer.step({ maxGradNorm: 5 });
        optimizer.zeroGrad();
      }
      return Array.from(await parameter.data(), Number);
    });

  it.each(['float32', 'bfloat16'] as const)('updates %s parameters like the reference', async (dtype) => {
    const normal = normals(4);
    const gradients = Array.from({ length: 4 }, () => Array.from({ length: 1003 }, () => normal()));
    const fused = await step(dtype, true, gradients);
    const reference = await step(dtype, false, gradients);
    expect(distance(fused, reference)).toBeLessThan(dtype === 'float32' ? 1e-6 : 1e-4);
    const broken = gradients.with(2, (gradients[2] as number[]).with(500, Number.NaN));
    expect(await step(dtype, true, broken)).toEqual(await step(dtype, true, gradients.toSpliced(2, 1)));
  });
});

againWithOtherInstructions('test/kernels.test.ts');

afterAll(() => addon().useKernels(true));
