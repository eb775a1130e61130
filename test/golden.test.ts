/** Golden numbers of palm-rlhf-pytorch 0.7.5 in float64, for weights that a formula gives. */
import { describe, expect, it } from 'vitest';
import { entropy, maskedMean, whiten } from '../src/losses/reductions.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';
import { distance } from './parity/numbers.ts';
import { palmOf, palmShapes, rewardModelOf, rewardShapes, sine } from './parity/weights.ts';

// The rotary tables of both are float32, and the numbers below are rounded to five or six digits.
const TOLERANCE = 2e-5;

const SIZE = { numTokens: 32, dim: 16, depth: 2, heads: 2, dimHead: 8, ffMult: 2 };
const FLOAT64 = { ...SIZE, dtype: 'float64' } as const;
const X = [
  [2, 12, 5, 12, 2, 6, 24, 25, 9, 7, 19, 14],
  [23, 15, 21, 10, 13, 30, 30, 13, 10, 21, 15, 23],
];

/** Elements from `from` on of the logits at one position. */
function logitsAt(logits: ArrayLike<number>, row: number, position: number, from: number, count: number): number[] {
  const start = (row * 12 + position) * SIZE.numTokens + from;
  return Array.from({ length: count }, (_, i) => logits[start + i] as number);
}

const VARIANTS = [
  {
    name: 'causal',
    options: {},
    loss: 4.251256,
    end: [-1.78963, -1.41917, -0.86358, -0.19532, 0.49842],
    middle: [-1.74607, -2.07979],
    embeddings: 2.66775,
  },
  {
    name: 'qkRmsnorm',
    options: { qkRmsnorm: true },
    loss: 3.47391,
    end: [-0.13832, -0.13327, -0.11084, -0.07395, -0.02741],
    middle: [-0.67025, -0.73591],
    embeddings: 0.91678,
  },
  {
    name: 'not causal',
    options: { causal: false },
    loss: 3.886688,
    end: [-1.80418, -1.47236, -0.94846, -0.30082, 0.38606],
    middle: [-0.91116, -0.75567],
    embeddings: -0.2144,
  },
  {
    name: 'xpos over 64 positions',
    options: { rotaryXposScaleBase: 64 },
    loss: 4.249907,
    end: [-1.7892, -1.42092, -0.86726, -0.20046, 0.4925],
    middle: [-1.74719, -2.0806],
    embeddings: 2.72379,
  },
];

describe('a float64 model with sinusoidal weights', () => {
  it.each(VARIANTS)('$name', async ({ options, loss, end, middle, embeddings }) => {
    using palm = await palmOf(sine(palmShapes({ ...SIZE, ...options })), { ...FLOAT64, ...options });
    using out = await palm.forward(X);
    expect(out.logits.dtype).toBe('float64');
    const logits = (await out.logits.data()) as Float64Array;
    expect(distance(logitsAt(logits, 0, 11, 0, 5), end)).toBeLessThan(TOLERANCE);
    expect(distance(logitsAt(logits, 1, 3, 30, 2), middle)).toBeLessThan(TOLERANCE);
    const sum = Array.from(await out.embeddings.data(), Number).reduce((a, b) => a + b);
    expect(Math.abs(sum - embeddings)).toBeLessThan(1e-4); // a sum of 384 numbers
    using measured = await palm.loss(X);
    expect(Math.abs((await measured.item()) - loss)).toBeLessThan(TOLERANCE);
  });

  it('a low-rank scope, on and off', async () => {
    using palm = await palmOf(sine(palmShapes(SIZE, { s: 4 })), FLOAT64);
    using scoped = await palm.forward(X, { scope: 's' });
    using plain = await palm.forward(X);
    const on = logitsAt((await scoped.logits.data()) as Float64Array, 0, 11, 0, 5);
    const off = logitsAt((await plain.logits.data()) as Float64Array, 0, 11, 0, 5);
    expect(distance(on, [0.97279, 1.00008, 0.8969, 0.67671, 0.36824])).toBeLessThan(TOLERANCE);
    expect(distance(off, [1.03648, 1.03085, 0.89074, 0.63443, 0.29534])).toBeLessThan(TOLERANCE);
  });

  it('a reward model', async () => {
    using model = await rewardModelOf(sine(rewardShapes(SIZE, 0)), FLOAT64);
    const promptLengths = [4, 6];
    const mask = [9, 12].map((end) => Array.from({ length: 12 }, (_, t) => t < end));
    using open = await model.score(X, { promptLengths });
    using masked = await model.score(X, { promptLengths, mask });
    using loss = await model.loss(X, { promptLengths, labels: [1, 2] });
    expect(distance(await open.data(), [-0.204432, 0.466539])).toBeLessThan(TOLERANCE);
    expect(distance(await masked.data(), [-0.413844, 0.466539])).toBeLessThan(TOLERANCE);
    expect(Math.abs((await loss.item()) - 1.90108)).toBeLessThan(TOLERANCE);
  });
});

describe('the arithmetic of PPO', () => {
  it('averages the masked entropy of softmax(sin(i)) per row, then over rows', async () => {
    const means = await Promise.all(
      [
        [false, true, true],
        [false, true, false],
      ].map(async (mask, row) => {
        const logits = Float64Array.from({ length: 12 }, (_, i) => Math.sin(12 * row + i));
        using tensor = Tensor.from(logits, { shape: [1, 3, 4], device });
        using values = await entropy(tensor);
        using mean = await maskedMean(values, [mask]);
        return mean.item();
      }),
    );
    expect(Math.abs(((means[0] as number) + (means[1] as number)) / 2 - 1.222439)).toBeLessThan(TOLERANCE);
  });

  it('normalises advantages', async () => {
    using values = Tensor.from(Float64Array.of(1, 4, 2, 2.5), { shape: [4], device });
    using normalized = await whiten(values);
    const expected = [-1.27017, 1.501111, -0.34641, 0.11547];
    expect(distance(await normalized.data(), expected)).toBeLessThan(TOLERANCE);
  });
});
