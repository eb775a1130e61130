import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeFloats, encodeFloats, type FloatDtype } from '../src/import/torch/floats.ts';
import { unpickle } from '../src/import/torch/pickle.ts';
import {
  type PickleDict,
  type PickleTensor,
  PickleTuple,
  type PickleValue,
} from '../src/import/torch/pickle-values.ts';
import { isSameView, openTorchFile, type TorchFile } from '../src/import/torch/torch-file.ts';
import { FileError, TorchFileError } from '../src/errors.ts';
import { archive, finished, op, tensorOf, torchArchive, torchRecords } from './torch-archive.ts';

const reference = fileURLToPath(new URL('fixtures/torch/torch-2.13.pt', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'palm-torch-file-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function entry(dict: PickleValue | undefined, name: string): PickleValue {
  return (dict as PickleDict).entries.get(name) as PickleValue;
}

async function bytesOf(file: TorchFile, tensor: PickleTensor): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of file.pieces(tensor)) pieces.push(piece.slice());
  return Buffer.concat(pieces);
}

async function numbers(file: TorchFile, name: string): Promise<number[]> {
  const tensor = entry(entry(file.root, 'model'), name) as PickleTensor;
  const bytes = await bytesOf(file, tensor);
  return [...decodeFloats(tensor.storage.dtype as FloatDtype, bytes)];
}

async function saved(bytes: Uint8Array): Promise<string> {
  const path = join(folder, 'file.pt');
  await writeFile(path, bytes);
  return path;
}

async function failure(promise: Promise<unknown>): Promise<TorchFileError> {
  const error = await promise.then(
    () => expect.fail('this should have been refused'),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(TorchFileError);
  return error as TorchFileError;
}

describe('a file of PyTorch 2.13', () => {
  it('is read with the type, shape and values of every tensor', async () => {
    await using file = await openTorchFile(reference);
    const model = entry(file.root, 'model') as PickleDict;
    const types = [...model.entries].map(([name, value]) => [name, (value as PickleTensor).storage.dtype]);
    expect(Object.fromEntries(types)).toEqual({
      ...{ float: 'F32', transposed: 'F32', slice: 'F32', tied: 'F32', again: 'F32', double: 'F64', half: 'F16' },
      ...{ bfloat16: 'BF16', long: 'I64', int: 'I32', bytes: 'U8', bool: 'BOOL', empty: 'F32', scalar: 'F32' },
    });
    expect(await numbers(file, 'float')).toEqual(Array.from({ length: 24 }, (_, i) => i));
    expect(await numbers(file, 'double')).toEqual([0.1]);
    expect(await numbers(file, 'half')).toEqual([1, -0.5, 65504, 2 ** -24, Number.POSITIVE_INFINITY]);
    expect(await numbers(file, 'bfloat16')).toEqual([1, 3.140625]);
    expect(await numbers(file, 'empty')).toEqual([]);
    expect(await numbers(file, 'scalar')).toEqual([4]);
    const long = await bytesOf(file, entry(model, 'long') as PickleTensor);
    expect([...new BigInt64Array(new Uint8Array(long).buffer)]).toEqual([-1n, 2n ** 40n]);
  });

  it('is read with views in row order', async () => {
    await using file = await openTorchFile(reference);
    const columns = Array.from({ length: 24 }, (_, i) => (i % 4) * 6 + Math.floor(i / 4));
    expect(await numbers(file, 'transposed')).toEqual(columns);
    expect(await numbers(file, 'slice')).toEqual([8, 9, 10, 14, 15, 16]);
  });

  it('is read with tied weights stored once', async () => {
    await using file = await openTorchFile(reference);
    const model = entry(file.root, 'model');
    const [tied, again, float] = ['tied', 'again', 'float'].map((name) => entry(model, name) as PickleTensor);
    expect(isSameView(tied as PickleTensor, again as PickleTensor)).toBe(true);
    expect(isSameView(tied as PickleTensor, float as PickleTensor)).toBe(false);
  });

  it('is read with the entries next to the tensors', async () => {
    await using file = await openTorchFile(reference);
    const { root } = file;
    expect(['step', 'lr', 'large', 'name', 'done', 'none'].map((name) => entry(root, name))).toEqual([
      ...[70000, 1e-3, 2 ** 40, 'zé', false, null],
    ]);
    expect(entry(root, 'betas')).toEqual(new PickleTuple([0.9, 0.99]));
    expect(entry(root, 'list')).toEqual([1, [2]]);
  });

  it('is refused with a byte missing or one too many', async () => {
    const bytes = await readFile(reference);
    const path = await saved(bytes);
    await truncate(path, bytes.length - 1);
    expect((await failure(openTorchFile(path))).reason).toBe('no-end');
    expect((await failure(openTorchFile(await saved(Buffer.concat([bytes, Buffer.alloc(1)]))))).reason).toBe('no-end');
  });
});

describe('archives', () => {
  const pickle = finished(tensorOf({ key: '0', elements: 3, shape: [3] }));
  const storages: [string, Uint8Array][] = [['0', new Uint8Array(12).fill(1)]];

  it('may lack the sizes after the data and the 64-bit end record', async () => {
    const records = torchRecords(pickle, storages).map((record) => ({ ...record, flags: 0 }));
    const plain = archive(records);
    const end = plain.subarray(plain.length - 22);
    const short = Buffer.concat([plain.subarray(0, plain.length - 22 - 76), end]);
    for (const bytes of [plain, short]) {
      await using file = await openTorchFile(await saved(bytes));
      expect([...(await bytesOf(file, file.root as PickleTensor))]).toEqual(Array(12).fill(1));
    }
  });

  it('may have 64-bit sizes and positions', async () => {
    const records = torchRecords(pickle, storages).map((record) => ({ ...record, wide: true }));
    await using file = await openTorchFile(await saved(archive(records)));
    expect([...(await bytesOf(file, file.root as PickleTensor))]).toEqual(Array(12).fill(1));
  });

  it('yield a large tensor in several pieces', async () => {
    const data = Uint8Array.from({ length: 4 * 1_500_000 }, (_, i) => i % 251);
    const large = finished(tensorOf({ key: '0', elements: 1_500_000, shape: [1_500_000] }));
    await using file = await openTorchFile(await saved(torchArchive(large, [['0', data]])));
    const lengths: number[] = [];
    for await (const piece of file.pieces(file.root as PickleTensor)) lengths.push(piece.length);
    expect(lengths).toEqual([4 * 1024 * 1024, data.length - 4 * 1024 * 1024]);
    expect(Buffer.compare(await bytesOf(file, file.root as PickleTensor), data)).toBe(0);
  });

  it('yield a large transposed tensor in several pieces', async () => {
    const [rows, columns] = [1000, 1500];
    const data = Float32Array.from({ length: rows * columns }, (_, i) => i);
    const shape = [columns, rows];
    const large = finished(tensorOf({ key: '0', elements: data.length, shape, strides: [1, columns] }));
    await using file = await openTorchFile(await saved(torchArchive(large, [['0', new Uint8Array(data.buffer)]])));
    const found = new Float32Array(new Uint8Array(await bytesOf(file, file.root as PickleTensor)).buffer);
    expect(found.every((value, i) => value === (i % rows) * columns + Math.floor(i / rows))).toBe(true);
  });

  it('cause a FileError if missing', async () => {
    const error = await openTorchFile(join(folder, 'nothing.pt')).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(FileError);
    expect(error).not.toBeInstanceOf(TorchFileError);
  });
});

describe('pickles', () => {
  it('share memoised objects', () => {
    const value = unpickle(
      finished(op.emptyList, op.put(0), op.int(-5), op.append, op.get(0), Buffer.from([0x86])),
      'x',
    );
    expect((value as PickleTuple).items).toEqual([[-5], [-5]]);
    expect((value as PickleTuple).items[0]).toBe((value as PickleTuple).items[1]);
  });

  it('keep keys such as __proto__ that are special in objects', () => {
    const dict = unpickle(finished(op.emptyDict, op.text('__proto__'), op.int(1), op.setItem), 'x') as PickleDict;
    expect([...dict.entries]).toEqual([['__proto__', 1]]);
  });

  it('may have integers of up to 8 bytes', () => {
    expect(unpickle(finished(op.long(-(2n ** 63n))), 'x')).toBe(-(2n ** 63n));
    expect(unpickle(finished(Buffer.from([0x8a, 0])), 'x')).toBe(0);
    expect(unpickle(finished(Buffer.from([0x8a, 1, 0xff])), 'x')).toBe(-1);
  });

  it('name the position of a refused opcode', () => {
    expect(() => unpickle(finished(op.none, op.global('os', 'system')), 'x.pt')).toThrow(
      /^x\.pt, data\.pkl byte 3: got global "os\.system", expected only what a state_dict/,
    );
  });
});

describe('floats', () => {
  it('are rounded to the nearest bfloat16, ties to even', () => {
    const values = Float64Array.of(1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -2.5, Number.NaN);
    const read = decodeFloats('BF16', encodeFloats('BF16', values));
    expect([...read]).toEqual([1, 1, 1 + 2 ** -6, 1 + 2 ** -7, -2.5, Number.NaN]);
  });

  it('of 16 bits are all decoded correctly', () => {
    const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const values = decodeFloats('F16', new Uint8Array(bits.buffer));
    expect([values[0x0001], values[0x03ff], values[0x0400], values[0x3555], values[0x7bff], values[0xfc00]]).toEqual([
      ...[2 ** -24, 1023 * 2 ** -24, 2 ** -14, 0.333251953125, 65504, Number.NEGATIVE_INFINITY],
    ]);
    expect(values.filter(Number.isNaN).length).toBe(2 * 1023);
    expect(new Set(values).size).toBe(65536 - 2 * 1023 - 1 + 1);
  });
});
