/** xPos counts from position 0: a cached key does not depend on how long an answer may become, and what is too far is told. */
import { afterEach, describe, expect, it } from 'vitest';
import { addon } from '../src/native/addon.ts';
import { PaLM } from '../src/models/palm.ts';
import { device } from './device.ts';
import { distance, relativeDistance } from './parity/numbers.ts';
import { drawn, ids, palmOf, palmShapes } from './parity/weights.ts';

const SIZE = { numTokens: 17, dim: 24, depth: 2, heads: 3, dimHead: 8, ffMult: 2 };
const weights = drawn(palmShapes(SIZE), 5);
const PROMPTS = [ids(7, SIZE.numTokens, 1), ids(3, SIZE.numTokens, 2)];

afterEach(() => addon().useKernels(true));

describe.each([true, false])('xpos, kernels %s', (kernels) => {
  it.each(['float32', 'bfloat16', 'float64'] as const)(
    '%s: draws the same bits in a cache of any size',
    async (dtype) => {
      await addon().useKernels(kernels);
      using palm = await palmOf(weights, { ...SIZE, dtype, rotaryXposScaleBase: 64 });
      const drawFirst = async (maxNewTokens: number) => {
        const rows: { token: number; logProb: number }[][] = [];
        for (const prompt of PROMPTS) {
          const row: { token: number; logProb: number }[] = [];
          for await (const next of palm.stream({ prompt, maxNewTokens, seed: 4 })) if (row.push(next) === 10) break;
          rows.push(row);
        }
        return rows;
      };
      const short = await drawFirst(10);
      expect(await drawFirst(1000)).toEqual(short);
      expect(await drawFirst(2900)).toEqual(short);
    },
  );

  it('is as accurate in float32 as in float64 at its furthest position', async () => {
    await addon().useKernels(kernels);
    const length = 48 * 8;
    const rows = [ids(length, SIZE.numTokens, 6)];
    const read = async (dtype: 'float32' | 'float64') => {
      using palm = await palmOf(weights, { ...SIZE, dtype, rotaryXposScaleBase: 8 });
      using loss = await palm.loss(rows);
      await loss.backward();
      using out = await palm.forward(rows);
      const gradients: number[][] = [];
      for (const parameter of palm.parameters()) {
        using grad = await parameter.grad();
        gradients.push(Array.from((await grad?.data()) ?? [], Number));
      }
      return { logits: Array.from(await out.logits.data(), Number), gradients };
    };
    const exact = await read('float64');
    const rounded = await read('float32');
    expect(distance(rounded.logits, exact.logits)).toBeLessThan(2e-5);
    for (const [k, gradient] of rounded.gradients.entries()) {
      expect(relativeDistance(gradient, exact.gradients[k] as number[])).toBeLessThan(2e-5);
    }
  });
});

describe('beyond 48 times rotaryXposScaleBase', () => {
  const model = (options: object) => new PaLM({ ...SIZE, device, rotaryXposScaleBase: 1.5, ...options });
  const row = (length: number) => [ids(length, SIZE.numTokens, 7)];

  it('a sequence is refused, with the maximum length', async () => {
    using palm = model({});
    using longest = await palm.loss(row(73));
    expect(await longest.item()).toSatisfy(Number.isFinite);
    const error = { code: 'ERR_ARGUMENT', argument: 'tokens', received: '73 positions' };
    await expect(palm.forward(row(73))).rejects.toMatchObject({ ...error, expected: expect.stringContaining('72') });
    await expect(palm.loss(row(74))).rejects.toMatchObject(error);
  });

  it('generation is refused before it starts', async () => {
    using palm = model({});
    const prompts = row(60);
    using longest = await palm.generate({ prompts, maxNewTokens: 12 });
    for (const logProb of await longest.logProbs.data()) expect(Number(logProb)).toSatisfy(Number.isFinite);
    const error = { code: 'ERR_ARGUMENT', argument: 'maxNewTokens', received: '73 positions' };
    await expect(palm.generate({ prompts, maxNewTokens: 13 })).rejects.toMatchObject(error);
    const stream = palm.stream({ prompt: prompts[0] as number[], maxNewTokens: 13 });
    await expect(stream.next()).rejects.toMatchObject(error);
  });

  it('a bidirectional model has no xpos and no limit', async () => {
    using palm = model({ causal: false });
    using loss = await palm.loss(row(200));
    expect(await loss.item()).toSatisfy(Number.isFinite);
  });
});
