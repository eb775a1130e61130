/** Numbers in files of models, decoded natively: bit for bit what others decode, and what the formulas say. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Random } from '../src/data/random.ts';
import { ArgumentError, DtypeError, type PalmError, ShapeError } from '../src/errors.ts';
import { bytesOf, NUMBER_FORMATS, type NumberFormat } from '../src/files/number-formats.ts';
import { openSafetensors } from '../src/files/safetensors/safetensors.ts';
import { addon } from '../src/native/addon.ts';
import { handleOf } from '../src/native/resource.ts';
import { decodeNumbers } from './decode-numbers.ts';
import { Tensor } from '../src/tensor/tensor.ts';

const recorded = fileURLToPath(new URL('fixtures/number-formats/recorded.safetensors', import.meta.url));
const FORMATS = Object.keys(NUMBER_FORMATS) as NumberFormat[];

async function decoded(
  bytes: Uint8Array,
  format: NumberFormat,
  dtype: 'float32' | 'bfloat16' = 'float32',
): Promise<Float32Array> {
  const { numbers, bytes: width } = NUMBER_FORMATS[format];
  using tensor = await decodeNumbers(format, bytes, [(bytes.length / width) * numbers], dtype);
  return (await tensor.data()) as Float32Array;
}

const bits = (numbers: Float32Array) => new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);

/** Rounds to the nearest bfloat16, ties to even. */
function rounded(numbers: Float32Array): Float32Array {
  const words = bits(numbers).map((word, i) =>
    Number.isFinite(numbers[i]) ? ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) << 16 : word,
  );
  return new Float32Array(words.buffer);
}

/** Random blocks whose scales are small and finite. */
function blocksOf(format: NumberFormat, count: number, random: Random): Uint8Array {
  const { bytes } = NUMBER_FORMATS[format];
  const all = Uint8Array.from({ length: count * bytes }, () => random.int(256));
  for (let block = 0; block < count; block++) {
    for (const at of HALVES[format] ?? [])
      all[block * bytes + at + 1] = (random.int(2) * 0x80) | (0x20 + random.int(8));
  }
  return all;
}

/** Where the float16 numbers of a block begin. */
const HALVES: Partial<Record<NumberFormat, number[]>> = {
  ...{ Q4_0: [0], Q4_1: [0, 2], Q5_0: [0], Q5_1: [0, 2], Q8_0: [0] },
  ...{ Q2_K: [80, 82], Q3_K: [108], Q4_K: [0, 2], Q5_K: [0, 2], Q6_K: [208] },
};

/** The float16 at `at`, which is normal. */
function half(block: Uint8Array, at: number): number {
  const word = (block[at] as number) | ((block[at + 1] as number) << 8);
  return (word & 0x8000 ? -1 : 1) * (1024 + (word & 1023)) * 2 ** (((word >> 10) & 31) - 25);
}

/** `count` bits from bit `at` of a block on, the lowest first. */
function bitsAt(block: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let i = 0; i < count; i++) value |= (((block[(at + i) >> 3] as number) >> ((at + i) & 7)) & 1) << i;
  return value;
}

/** Number i of 32 as the low halves of 16 bytes, then the high ones, from byte `at` on. */
const nibble = (block: Uint8Array, at: number, i: number) => bitsAt(block, 8 * (at + (i % 16)) + (i < 16 ? 0 : 4), 4);

/** What a block of 32 holds, by the formulas, number by number. */
const FORMULAS: Record<string, (block: Uint8Array, i: number) => number> = {
  Q4_0: (block, i) => half(block, 0) * (nibble(block, 2, i) - 8),
  Q4_1: (block, i) => Math.fround(half(block, 0) * nibble(block, 4, i)) + half(block, 2),
  Q5_0: (block, i) => half(block, 0) * (nibble(block, 6, i) + 16 * bitsAt(block, 16 + i, 1) - 16),
  Q5_1: (block, i) =>
    Math.fround(half(block, 0) * (nibble(block, 8, i) + 16 * bitsAt(block, 32 + i, 1))) + half(block, 2),
  Q8_0: (block, i) => half(block, 0) * ((bitsAt(block, 16 + 8 * i, 8) << 24) >> 24),
};

describe('decoded numbers', () => {
  it.each(FORMATS)('%s equals what Python decodes, bit for bit', async (format) => {
    await using file = await openSafetensors(recorded);
    const [stored, numbers] = [file.entry(`${format}.bytes`), file.entry(`${format}.numbers`)];
    const bytes = new Uint8Array(stored.end - stored.begin);
    await file.read(stored.begin, bytes);
    const expected = new Float32Array((numbers.end - numbers.begin) / 4);
    await file.read(numbers.begin, new Uint8Array(expected.buffer));
    expect(expected.length).toBeGreaterThanOrEqual(64);
    const wanted = Array.from(expected, (value, i) => (Number.isNaN(value) ? 'NaN' : bits(expected)[i]));
    const shown = (found: Float32Array) =>
      Array.from(found, (value, i) => (Number.isNaN(value) ? 'NaN' : bits(found)[i]));
    expect(shown(await decoded(bytes, format))).toEqual(wanted);
    expect(shown(await decoded(bytes, format, 'bfloat16'))).toEqual(shown(rounded(expected)));
  });

  it.each(Object.keys(FORMULAS) as NumberFormat[])('%s equals its formula', async (format) => {
    const bytes = blocksOf(format, 40, new Random(3));
    const found = await decoded(bytes, format);
    const width = bytes.length / 40;
    const expected = Float32Array.from(found, (_, n) => {
      const block = bytes.subarray(Math.floor(n / 32) * width, (Math.floor(n / 32) + 1) * width);
      return (FORMULAS[format] as (typeof FORMULAS)[string])(block, n % 32);
    });
    expect(bits(found)).toEqual(bits(expected));
  });

  it.each(['Q4_1', 'Q6_K'] as const)('%s does not depend on threads', async (format) => {
    const some = blocksOf(format, 71, new Random(5));
    const bytes = Uint8Array.from({ length: 20 * some.length }, (_, i) => some[i % some.length] as number);
    const [one, found] = [await decoded(some, format), await decoded(bytes, format)];
    for (let i = 0; i < 20; i++) expect(bits(found.slice(i * one.length, (i + 1) * one.length))).toEqual(bits(one));
  });

  it.each(['Q4_1', 'F32', 'BF16', 'F16'] as const)(
    '%s fills columns of a tensor and leaves the others',
    async (format) => {
      const bytes =
        format === 'Q4_1' ? blocksOf(format, 6, new Random(7)) : new Uint8Array(bytesOf(format, 192)).fill(0x3c);
      const expected = await decoded(bytes, format);
      using all = Tensor.from(new Float64Array(3 * 70).fill(7), { shape: [3, 70] });
      using columns = new Tensor(addon().tensorNarrow(handleOf(all), 1, 4, 64));
      await addon().tensorDecode(handleOf(columns), format, bytes);
      const found = (await all.data()) as Float64Array;
      const wanted = Float64Array.from({ length: 210 }, (_, i) => {
        const [row, column] = [Math.floor(i / 70), (i % 70) - 4];
        return column >= 0 && column < 64 ? (expected[row * 64 + column] as number) : 7;
      });
      expect(found).toEqual(wanted);
    },
  );

  it('keeps every bit of numbers of its own type', async () => {
    const bytes = Uint8Array.from({ length: 2 * 65_536 }, (_, i) => (i % 2 === 0 ? i >> 1 : i >> 9) & 255);
    using tensor = await decodeNumbers('BF16', bytes, [65_536], 'bfloat16');
    const back = new Uint8Array(bytes.length);
    await addon().tensorReadBytes(handleOf(tensor), 0, back);
    expect(Buffer.compare(bytes, back)).toBe(0);
  });
});

describe('what cannot be decoded', () => {
  const target = () => Tensor.from(new Float32Array(64), { shape: [2, 32] });
  const decode = (tensor: Tensor, bytes: number, format: string) =>
    addon().tensorDecode(handleOf(tensor), format as NumberFormat, new Uint8Array(bytes));

  it.each([
    ['part of a block', 41, 'Q4_1', ShapeError],
    ['more than fits', 60, 'Q4_1', ShapeError],
    ['less than there is room for', 20, 'Q4_1', ShapeError],
    ['half of a plain number', 255, 'F32', ShapeError],
    ['an unknown format', 40, 'Q9_9', ArgumentError],
  ])('refuses %s', async (_what, bytes, format, type) => {
    using tensor = target();
    const error = await decode(tensor, bytes, format).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(type);
    expect((error as PalmError).expected).toBeTruthy();
  });

  it('refuses tensors of other kinds', async () => {
    using tensor = Tensor.from(new Int32Array(32));
    await expect(decode(tensor, 20, 'Q4_1')).rejects.toBeInstanceOf(DtypeError);
  });

  it('leaves no tensor behind when it refuses', async () => {
    const before = addon().memory().liveTensors;
    await expect(decodeNumbers('Q4_1', new Uint8Array(21), [32])).rejects.toBeInstanceOf(ShapeError);
    expect(addon().memory().liveTensors).toBe(before);
  });
});
