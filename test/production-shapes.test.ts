/**
 * Heads as people train them, whose width is a multiple of 8 so that a GPU's fused attention computes them, with times on both
 * sides of its tiles, against float64; and every level of recomputing one after the other in this process, since libraries keep
 * plans by shape.
 */
import { describe, expect, it } from 'vitest';
import { cpuKernels } from './device.ts';
import { drawn, ids, palmOf, palmShapes, type Size } from './parity/weights.ts';
import { distance, type Numbers, readings, representable, withKernels } from './readings.ts';

const TIMES = [2, 3, 64, 127, 128, 129, 257, 1025];
const HEADS = [
  { heads: 4, dimHead: 64, dim: 128 },
  { heads: 3, dimHead: 32, dim: 96 },
  { heads: 2, dimHead: 128, dim: 64 },
  { heads: 1, dimHead: 64, dim: 64 },
  { heads: 5, dimHead: 8, dim: 40 },
  { heads: 5, dimHead: 8, dim: 36 }, // rows of the output projection that are not multiples of 16 bytes
];
const sizeOf = (heads: (typeof HEADS)[number]): Size => ({ numTokens: 97, depth: 2, ffMult: 3, ...heads });
const tokensOf = (time: number) => [ids(time, 97, 1), ids(time, 97, 2)];

type Dtype = 'float32' | 'bfloat16' | 'float64';
type Level = 'none' | 'selective' | 'full';

async function read(size: Size, time: number, dtype: Dtype, recompute: Level = 'selective'): Promise<Numbers> {
  using palm = await palmOf(representable(drawn(palmShapes(size), 5)), { ...size, dtype, recompute });
  return await readings(palm, tokensOf(time), undefined);
}

/** How far each number lies from the truth, where that is more than `allowed`. */
function further(numbers: Numbers, truth: Numbers, allowed: (name: string) => number): Record<string, number> {
  expect(Object.keys(numbers)).toEqual(Object.keys(truth));
  const gaps = Object.keys(truth).map((name) => [name, distance(numbers[name] as number[], truth[name] as number[])]);
  return Object.fromEntries(gaps.filter(([name, gap]) => !((gap as number) < allowed(name as string))));
}

describe.each(HEADS)('$heads heads of $dimHead in a width of $dim', (heads) => {
  const size = sizeOf(heads);

  it.each(TIMES)('are correct at %i tokens', async (time) => {
    const truth = await read(size, time, 'float64');
    expect(further(await read(size, time, 'float32'), truth, () => 5e-5)).toEqual({});
    const plain = await withKernels(false, () => read(size, time, 'bfloat16'));
    const allowed = (name: string) => 2 * distance(plain[name] as number[], truth[name] as number[]) + 5e-3;
    expect(further(await read(size, time, 'bfloat16'), truth, allowed)).toEqual({});
  });

  it.each([127, 129])('have the same gradient at every level of recomputation, %i tokens', async (time) => {
    for (const dtype of ['bfloat16', 'float32'] as const) {
      const first = await read(size, time, dtype, 'none');
      for (const level of ['selective', 'full', 'none', 'selective'] as const) {
        const again = await read(size, time, dtype, level);
        // A GPU's library may add in another order at each call.
        if (cpuKernels) expect(again).toEqual(first);
        else
          expect(
            further(again, first, () => (dtype === 'float32' ? 1e-5 : 1e-2)),
            level,
          ).toEqual({});
      }
    }
  });
});
