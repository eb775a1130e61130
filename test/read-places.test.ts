/** Reading stored tensors in pieces: every row comes to its place, whatever the order, and failures are told. */
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Random } from '../src/data/random.ts';
import { DtypeError } from '../src/errors.ts';
import { partRow, type Place, type RowOrder } from '../src/families/place.ts';
import type { StoredTensor } from '../src/files/stored-tensors.ts';
import { extentOf } from '../src/models/row-runs.ts';
import { readPlaces } from '../src/models/read-places.ts';
import { addon } from '../src/native/addon.ts';
import { handleOf } from '../src/native/resource.ts';
import { Tensor } from '../src/tensor/tensor.ts';

/** Rows of 8 kB: several pieces. */
const [ROWS, COLUMNS] = [1536, 2048];
const SHAPES = new Map([
  ['a', [ROWS, COLUMNS]],
  ['b', [ROWS, COLUMNS]],
]);
const whole = (parameter: string) => ({ parameter, dim: 0, start: 0, length: ROWS }) as const;

function storedTensor(name: string, numbers: Float32Array, shape: readonly number[], failing = Infinity): StoredTensor {
  const bytes = new Uint8Array(numbers.buffer);
  const reader = () => {
    let at = 0;
    return async (target: Uint8Array) => {
      await setTimeout(5); // long enough for the piece before to fail
      if (at >= failing) throw new Error('the disk failed');
      target.set(bytes.subarray(at, at + target.length));
      at += target.length;
    };
  };
  return { name, shape, dtype: 'F32', path: 'model.safetensors', reader };
}

function drawn(count: number): Float32Array {
  const random = new Random(1);
  return Float32Array.from({ length: count }, () => random.int(1 << 20));
}

interface Faults {
  /** The byte at which reading fails. */
  failing?: number;
  /** The numbers that parameters have before. */
  into?: Float32Array | Int32Array;
}

/** Reads `place` from drawn numbers: these, and what the parameters hold then. */
async function read(place: Place, { failing, into = new Float32Array(ROWS * COLUMNS) }: Faults = {}) {
  const { rows, columns } = extentOf(place, SHAPES);
  const numbers = drawn(rows * columns);
  const stored = new Map([[place.name, storedTensor(place.name, numbers, [rows, columns], failing)]]);
  using a = Tensor.from(into, { shape: [ROWS, COLUMNS] });
  using b = Tensor.from(into, { shape: [ROWS, COLUMNS] });
  const shared = (tensor: Tensor) => new Tensor(addon().tensorNarrow(handleOf(tensor), 0, 0, ROWS));
  const valued = [a, b].map((tensor, i) => ({ name: 'ab'[i] as string, value: async () => shared(tensor) }));
  await readPlaces({ tensors: stored }, [place], SHAPES, valued);
  return { numbers, rows, columns, a: (await a.data()) as Float32Array, b: (await b.data()) as Float32Array };
}

describe('pieces of a tensor', () => {
  it.each<[string, RowOrder | undefined]>([
    ['as they stand', undefined],
    ['pairs of rotary heads', { kind: 'pairs', width: 96, rotary: 64 }],
    ['groups of heads', { kind: 'groups', groups: 8, queries: 2, width: 96 }],
  ])('come to two parameters: %s', async (_what, order) => {
    const { numbers, a, b } = await read({ name: 'w', parts: [whole('a'), whole('b')], order });
    const together = new Float32Array(2 * ROWS * COLUMNS);
    for (let row = 0; row < 2 * ROWS; row++) {
      together.set(numbers.subarray(row * COLUMNS, (row + 1) * COLUMNS), partRow(order, row) * COLUMNS);
    }
    expect(Buffer.compare(new Uint8Array(a.buffer), new Uint8Array(together.buffer, 0, a.byteLength))).toBe(0);
    expect(Buffer.compare(new Uint8Array(b.buffer), new Uint8Array(together.buffer, a.byteLength))).toBe(0);
  });

  it.each(['transposed', undefined] as const)('come to some columns: %s', async (order) => {
    const part = { parameter: 'a', dim: 1, start: 8, length: 2000 } as const;
    const { numbers, a } = await read({ name: 'w', parts: [part], order });
    const at = (row: number, column: number) => (order ? column * ROWS + row : row * 2000 + column);
    let wrong = 0;
    for (let i = 0; i < a.length; i++) {
      const [row, column] = [Math.floor(i / COLUMNS), (i % COLUMNS) - 8];
      if (a[i] !== (column >= 0 && column < 2000 ? numbers[at(row, column)] : 0)) wrong++;
    }
    expect(wrong).toBe(0);
  });

  const place: Place = { name: 'w', parts: [whole('a')] };

  it('end where one cannot be read', async () => {
    await expect(read(place, { failing: 1 })).rejects.toThrow('the disk failed');
  });

  it('end where one cannot be decoded, while the next one is read', async () => {
    await expect(read(place, { into: new Int32Array(ROWS * COLUMNS) })).rejects.toBeInstanceOf(DtypeError);
  });
});
