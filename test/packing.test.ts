/** Several sequences in a row are the sequences by themselves: logits, losses and gradients, with kernels and without. */
import { describe, expect, it } from 'vitest';
import { packSequences } from '../src/data/packing.ts';
import { ArgumentError, DtypeError, ShapeError } from '../src/errors.ts';
import { addon } from '../src/native/addon.ts';
import type { PaLM, PalmConfigInput } from '../src/models/palm.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { device } from './device.ts';
import { relativeDistance } from './parity/numbers.ts';
import { drawn, ids, palmOf, palmShapes, type Size } from './parity/weights.ts';

describe('packSequences', () => {
  it('puts each sequence into the first row with room, in the given order', () => {
    const packed = packSequences([[1, 2, 3], [4, 5, 6, 7], [8, 9], [10]], 5, { padToken: 99 });
    expect(packed).toEqual({
      tokens: Int32Array.of(1, 2, 3, 8, 9, 4, 5, 6, 7, 10),
      segments: Int32Array.of(1, 1, 1, 2, 2, 1, 1, 1, 1, 2),
      mask: new Uint8Array(10).fill(1),
      shape: [2, 5],
      row: Int32Array.of(0, 1, 0, 1),
    });
  });

  it('fills rows with padding, which is masked and a separate segment', () => {
    const { tokens, segments, mask } = packSequences([[7, 7]], 4, { padToken: 3 });
    expect([tokens, segments, mask].map((array) => [...array])).toEqual([
      [7, 7, 3, 3],
      [1, 1, 0, 0],
      [1, 1, 0, 0],
    ]);
  });

  it('keeps every token, wastes little and is fast for many sequences', () => {
    const sequences = Array.from({ length: 5000 }, (_, i) => ids(1 + ((i * i * 7) % 97), 50, i));
    const { tokens, segments, mask, shape, row } = packSequences(sequences, 128);
    const rows = Array.from({ length: shape[0] }, (_, r) => tokens.subarray(r * 128, (r + 1) * 128));
    const taken = rows.map(() => 0);
    for (const [i, sequence] of sequences.entries()) {
      const r = row[i] as number;
      const at = taken[r] as number;
      expect([...(rows[r] as Int32Array).subarray(at, at + sequence.length)]).toEqual(sequence);
      expect(new Set(segments.subarray(r * 128 + at, r * 128 + at + sequence.length)).size).toBe(1);
      taken[r] = at + sequence.length;
    }
    const real = sequences.reduce((sum, { length }) => sum + length, 0);
    expect(mask.reduce((sum, one) => sum + one, 0)).toBe(real);
    expect(real / mask.length).toBeGreaterThan(0.95);
  });

  it('refuses sequences that do not fit', () => {
    expect(() => packSequences([], 4)).toThrow(ShapeError);
    expect(() => packSequences([[1], []], 4)).toThrow(/sequences\[1\]: got 0 tokens/);
    expect(() => packSequences([[1, 2, 3]], 2)).toThrow(/sequences\[0\]: got 3 tokens, expected 1 to 2/);
    expect(() => packSequences([[1]], 0)).toThrow(ArgumentError);
  });
});

const ODD: Size = { numTokens: 19, dim: 24, depth: 2, heads: 3, dimHead: 6, ffMult: 3 };
const WIDE: Size = { numTokens: 37, dim: 32, depth: 2, heads: 5, dimHead: 16, ffMult: 2 };

// Sequences that start in the middle of a vector and of a tile of queries, one token, and rows that end in padding.
const CASES = [
  { name: 'a few short ones', size: ODD, lengths: [5, 3, 1, 7, 2, 4], length: 9 },
  { name: 'long rows', size: WIDE, lengths: [90, 33, 1, 64, 2, 150, 17, 31], length: 200 },
];
const VARIANTS: { dtype: 'float32' | 'float64' | 'bfloat16'; kernels: boolean; near: number }[] = [
  { dtype: 'float64', kernels: true, near: 1e-10 },
  { dtype: 'float32', kernels: true, near: 2e-5 },
  { dtype: 'float32', kernels: false, near: 2e-5 },
  { dtype: 'bfloat16', kernels: true, near: 3e-2 },
];

interface Readings {
  logits: number[];
  loss: number;
  gradient: number[];
}

async function gradientOf(palm: PaLM, scope: string | undefined): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of [...palm.parameters(), ...(scope ? palm.parameters({ scope }) : [])]) {
    using grad = await parameter.grad();
    for (const element of (await grad?.data()) ?? []) all.push(Number(element));
  }
  return all;
}

async function packedReadings(palm: PaLM, sequences: number[][], length: number, scope?: string): Promise<Readings> {
  const packed = packSequences(sequences, length);
  const { shape } = packed;
  using tokens = Tensor.from(packed.tokens, { shape, device });
  using segments = Tensor.from(packed.segments, { shape, device });
  using mask = Tensor.from(packed.mask, { shape, dtype: 'bool', device });
  using out = await palm.forward(tokens, { scope, segments });
  const all = await out.logits.data();
  const width = palm.config.numTokens;
  const taken = new Map<number, number>();
  const logits = sequences.flatMap((sequence, i) => {
    const row = packed.row[i] as number;
    const at = row * length + (taken.get(row) ?? 0);
    taken.set(row, (taken.get(row) ?? 0) + sequence.length);
    return Array.from(all.slice(at * width, (at + sequence.length) * width), Number);
  });
  using loss = await palm.loss(tokens, { scope, segments, mask });
  await loss.backward();
  return { logits, loss: await loss.item(), gradient: await gradientOf(palm, scope) };
}

async function separateReadings(palm: PaLM, sequences: number[][], scope?: string): Promise<Readings> {
  const denominator = sequences.reduce((sum, { length }) => sum + length - 1, 0);
  const logits: number[] = [];
  let total = 0;
  for (const sequence of sequences) {
    using out = await palm.forward([sequence], { scope });
    for (const element of await out.logits.data()) logits.push(Number(element));
    if (sequence.length < 2) continue;
    using loss = await palm.loss([sequence], { scope, denominator });
    await loss.backward();
    total += await loss.item();
  }
  return { logits, loss: total, gradient: await gradientOf(palm, scope) };
}

/** Expects sequences packed into rows to read like the same alone. */
async function expectSame(
  size: Size,
  options: Partial<PalmConfigInput>,
  { lengths, length, near, scope }: { lengths: number[]; length: number; near: number; scope?: string },
): Promise<void> {
  const weights = drawn(palmShapes({ ...size, qkRmsnorm: options.qkRmsnorm }, { actor: 2 }), 3);
  const sequences = lengths.map((count, i) => ids(count, size.numTokens, 60 + i));
  using one = await palmOf(weights, { ...size, ...options });
  using other = await palmOf(weights, { ...size, ...options });
  const packed = await packedReadings(one, sequences, length, scope);
  const separate = await separateReadings(other, sequences, scope);
  expect(relativeDistance(packed.logits, separate.logits)).toBeLessThan(near);
  if (options.causal === false) return; // the last token of a row is only predicted, but in a packed row it is seen
  expect(relativeDistance([packed.loss], [separate.loss])).toBeLessThan(near);
  expect(relativeDistance(packed.gradient, separate.gradient)).toBeLessThan(near);
}

describe.each(CASES)('rows of $name', ({ size, lengths, length }) => {
  it.each(VARIANTS)('$dtype, kernels $kernels', async ({ dtype, kernels, near }) => {
    await addon().useKernels(kernels);
    try {
      await expectSame(size, { dtype }, { lengths, length, near });
      await expectSame(size, { dtype }, { lengths, length, near, scope: 'actor' });
    } finally {
      await addon().useKernels(true);
    }
  });

  it.each([{ qkRmsnorm: true }, { causal: false }, { recompute: 'full' }] as const)('%o', async (variant) => {
    await expectSame(size, variant, { lengths, length, near: 2e-5 });
  });
});

describe('segments', () => {
  const tokens = [[1, 2, 3, 4, 5, 6]];

  it('change nothing if all are equal', async () => {
    using palm = await palmOf(drawn(palmShapes(ODD), 3), ODD);
    using plain = await palm.loss(tokens);
    using one = await palm.loss(tokens, { segments: [[4, 4, 4, 4, 4, 4]] });
    expect(await one.item()).toBe(await plain.item());
  });

  it('may recur later in a row as another sequence', async () => {
    using palm = await palmOf(drawn(palmShapes(ODD), 3), ODD);
    using twice = await palm.forward(tokens, { segments: [[0, 0, 1, 1, 0, 0]] });
    using thrice = await palm.forward(tokens, { segments: [[0, 0, 1, 1, 2, 2]] });
    expect(await twice.logits.data()).toEqual(await thrice.logits.data());
  });

  it('must be integers, one per token', async () => {
    using palm = await palmOf(drawn(palmShapes(ODD), 3), ODD);
    await expect(palm.loss(tokens, { segments: [[1, 2]] })).rejects.toThrow(ShapeError);
    await expect(palm.forward(tokens, { segments: Tensor.from([[1, 1, 1, 1, 1, 1]], { device }) })).rejects.toThrow(
      DtypeError,
    );
  });
});
