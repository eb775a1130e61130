/** Parts of tensors in files: written as tensors of their own, read back into their place. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ArgumentError, FileError } from '../src/errors.ts';
import { openSafetensors } from '../src/files/safetensors/safetensors.ts';
import { Tensor } from '../src/tensor/tensor.ts';
import { loadTensors, saveTensors } from '../src/tensor/tensor-files.ts';
import { device } from './device.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-slices-'));
afterAll(() => rmSync(folder, { recursive: true }));

const VALUES = [
  [1, 2, 3, 4],
  [5, 6, 7, 8],
  [9, 10, 11, 12],
];
const COLUMNS = { dim: 1, start: 1, length: 2 };
const ROWS = { dim: 0, start: 2, length: 1 };
const metadata = new Map<string, string>();

describe('a slice of a tensor', () => {
  it.each(['float32', 'bfloat16', 'float64'] as const)(
    'has a name and a shape of its own in a file: %s',
    async (dtype) => {
      const path = join(folder, dtype);
      using tensor = Tensor.from(VALUES, { dtype, device });
      const parts = [
        { name: 'columns', tensor, slice: COLUMNS },
        { name: 'rows', tensor, slice: ROWS },
      ];
      await saveTensors(path, { tensors: parts, metadata });
      await using file = await openSafetensors(path);
      expect(file.entry('columns').shape).toEqual([3, 2]);
      expect(file.entry('rows').shape).toEqual([1, 4]);

      using columns = Tensor.from(new Float32Array(6), { shape: [3, 2], dtype, device });
      using all = Tensor.from(new Float32Array(12), { shape: [3, 4], dtype, device });
      await loadTensors(path, [
        { name: 'columns', tensor: columns },
        { name: 'rows', tensor: all, slice: { ...ROWS, start: 0 } },
      ]);
      expect(Array.from(await columns.data(), Number)).toEqual([2, 3, 6, 7, 10, 11]);
      expect(Array.from(await all.data(), Number)).toEqual([9, 10, 11, 12, 0, 0, 0, 0, 0, 0, 0, 0]);
    },
  );

  it('is read back into its columns, without changing the others', async () => {
    const path = join(folder, 'columns');
    using tensor = Tensor.from(VALUES, { device });
    await saveTensors(path, { tensors: [{ name: 'x', tensor, slice: COLUMNS }], metadata });
    using other = Tensor.from(new Float32Array(12), { shape: [3, 4], device });
    await loadTensors(path, [{ name: 'x', tensor: other, slice: COLUMNS }]);
    expect(Array.from(await other.data(), Number)).toEqual([0, 2, 3, 0, 0, 6, 7, 0, 0, 10, 11, 0]);
  });

  it.each([
    { dim: 2, start: 0, length: 1 },
    { dim: 1, start: 3, length: 2 },
    { dim: 1, start: -1, length: 2 },
    { dim: 0, start: 0.5, length: 1 },
    {},
    7,
  ])('is refused if out of range: %o', async (slice) => {
    using tensor = Tensor.from(VALUES, { device });
    const tensors = [{ name: 'x', tensor, slice: slice as typeof ROWS }];
    const error = { code: 'ERR_ARGUMENT', argument: 'tensors[0].slice' };
    await expect(saveTensors(join(folder, 'bad'), { tensors, metadata })).rejects.toMatchObject(error);
    await expect(loadTensors(join(folder, 'bad'), tensors)).rejects.toThrow(ArgumentError);
  });

  it('must have the shape in the file', async () => {
    const path = join(folder, 'shape');
    using tensor = Tensor.from(VALUES, { device });
    await saveTensors(path, { tensors: [{ name: 'x', tensor, slice: COLUMNS }], metadata });
    const wrong = { name: 'x', tensor, slice: { ...COLUMNS, length: 3 } };
    await expect(loadTensors(path, [wrong])).rejects.toThrow(FileError);
    await expect(loadTensors(path, [wrong])).rejects.toMatchObject({
      received: 'shape [3, 2]',
      expected: 'shape [3, 3]',
    });
  });
});
