import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DTYPE_BITS } from '../src/files/safetensors/header.ts';
import {
  createSafetensors,
  openSafetensors,
  planSafetensors,
  type SafetensorsTensor,
} from '../src/files/safetensors/safetensors.ts';
import { ArgumentError, FileError, SafetensorsError } from '../src/errors.ts';
import { fileOf, MALFORMED, tensor } from './malformed-safetensors.ts';

const reference = fileURLToPath(new URL('fixtures/safetensors/python-0.5.3.safetensors', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'palm-safetensors-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function openBytes(bytes: Uint8Array) {
  const path = join(folder, 'file.safetensors');
  await writeFile(path, bytes);
  return openSafetensors(path);
}

async function failure(promise: Promise<unknown>): Promise<FileError> {
  const error = await promise.then(
    () => expect.fail('this should have been refused'),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(FileError);
  return error as FileError;
}

const a = (shape: string, offsets: string, dtype = 'F32') => tensor('a', shape, offsets, dtype);

describe('reading', () => {
  it('reads what the Python library wrote', async () => {
    await using file = await openSafetensors(reference);
    expect(file.metadata).toEqual(new Map([['format', 'pt']]));
    expect([...file.entries.keys()]).toEqual([
      ...['step', 'dbl', 'a', 'b', 'half', 'f16', 'zé "q"\n', '\uffee', '\u{1f600}', 'mask'],
    ]);
    expect(file.entry('step')).toEqual({ dtype: 'I64', shape: [], begin: 624, end: 632 });
    expect(file.entry('f16')).toMatchObject({ dtype: 'F16', shape: [0, 2] });
    const bytes = new Uint8Array(8);
    await file.read(file.entry('b').begin, bytes);
    expect([...bytes]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('suggests a tensor with a name similar to the missing one', async () => {
    await using file = await openSafetensors(reference);
    expect(() => file.entry('hal')).toThrow(/Did you mean "half"/);
    expect(() => file.entry('hal')).toThrow(expect.objectContaining({ reason: 'no-such-tensor' }));
  });

  it('keeps names such as __proto__ that are special in objects', async () => {
    const header = `{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"constructor":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`;
    await using file = await openBytes(fileOf(header, 1));
    expect([...file.entries.keys()]).toEqual(['__proto__', 'constructor']);
    expect(({} as { dtype?: string }).dtype).toBeUndefined();
  });

  it.each([
    ['no tensors', '{}', 0],
    ['white space around', ` \t\r\n{ ${a(' [ 1 , 2 ] ', ' [0 , 8 ] ')} }  \n`, 8],
    ['any order of keys and tensors', `{"b":{"data_offsets":[4,8],"shape":[1],"dtype":"I32"},${a('[]', '[0,4]')}}`, 8],
    ['a zero dimension beside a large one', `{${a('[0,1099511627776]', '[0,0]', 'U8')}}`, 0],
    [
      'tensors out of order, with empty ones between',
      `{${[
        tensor('d', '[0]', '[8,8]'),
        tensor('c', '[1]', '[4,8]'),
        tensor('b', '[0]', '[4,4]'),
        tensor('a', '[1]', '[0,4]'),
      ].join()}}`,
      8,
    ],
    ['half bytes that add up', `{${a('[2,3]', '[0,3]', 'F4')}}`, 3],
    ['escaped names', `{"\\u0061\\n\\"":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}`, 1],
  ])('accepts %s', async (_, header, dataBytes) => {
    await using file = await openBytes(fileOf(header, dataBytes));
    expect([...file.entries.keys()]).toHaveLength(file.entries.size);
  });

  it.each(
    Object.entries(MALFORMED).flatMap(([reason, files]) =>
      files.map(([what, bytes, message]) => [what, reason, bytes, message] as const),
    ),
  )('refuses %s: %s', async (_, reason, bytes, message) => {
    const error = await failure(openBytes(bytes));
    expect(error).toBeInstanceOf(SafetensorsError);
    expect(error).toMatchObject({ code: 'ERR_SAFETENSORS', reason });
    expect(error.message).toMatch(message);
    expect(error.message).toContain('file.safetensors');
    expect(error.expected).toBeDefined();
    expect(error.fix).toBeDefined();
  });

  it('reports the byte offset of an error', async () => {
    const position = async (bytes: Buffer) => ((await failure(openBytes(bytes))) as SafetensorsError).position;
    const header = `{${tensor('a', '[1]', '[0,4]')},"b":{"dtype":"F31"}}`;
    expect(await position(fileOf(header, 4))).toBe(8 + header.indexOf('"F31"'));
    const whole = `{${tensor('a', '[1]', '[0,4]')}}`;
    expect(await position(fileOf(whole, 6))).toBe(8 + whole.length + 4);
    expect(await position(fileOf(whole, 3))).toBe(8 + whole.length + 3);
    expect(await position(Buffer.alloc(3))).toBeUndefined();
  });

  it('escapes control characters of names in its messages', async () => {
    const error = await failure(openBytes(fileOf('{"\\u001b[31m":{}}')));
    expect(error.message).toContain('\\u001b[31m');
    expect(error.message).not.toContain('\u001b');
  });

  it('refuses missing paths and anything but regular files', async () => {
    expect((await failure(openSafetensors(join(folder, 'none')))).message).toMatch(/no such file or folder/);
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    for (const path of [folder, pipe, '/dev/zero']) {
      expect(await failure(openSafetensors(path))).toMatchObject({ reason: 'not-a-file' });
    }
    expect((await failure(openSafetensors(join(reference, 'below')))).message).toMatch(/not a folder/);
  });

  it('notices a file that is truncated while it is read', async () => {
    await using file = await openBytes(fileOf(`{${a('[1]', '[0,4]')}}`, 4));
    const { begin } = file.entry('a');
    await truncate(file.path, begin + 2);
    const error = await failure(file.read(begin, new Uint8Array(4)));
    expect(error).toMatchObject({ reason: 'truncated', position: begin + 2 });
    expect(error.message).toMatch(/end of file at byte/);
  });
});

describe('writing', () => {
  const tensors: SafetensorsTensor[] = [
    { name: 'b', dtype: 'F32', shape: [2, 1] },
    { name: 'a', dtype: 'F32', shape: [1] },
    { name: 'mask', dtype: 'BOOL', shape: [3] },
    { name: 'step', dtype: 'I64', shape: [] },
    { name: 'half', dtype: 'BF16', shape: [2] },
    { name: 'f16', dtype: 'F16', shape: [0, 2] },
    { name: '\u{1f600}', dtype: 'U8', shape: [1] },
    { name: '\uffee', dtype: 'U8', shape: [1] },
    { name: 'zé "q"\n', dtype: 'U8', shape: [1] },
    { name: 'dbl', dtype: 'F64', shape: [1] },
  ];

  it('writes the same bytes as the Python library', async () => {
    const plan = planSafetensors(tensors, new Map([['format', 'pt']]));
    const path = join(folder, 'ours.safetensors');
    await using source = await openSafetensors(reference);
    await using writer = await createSafetensors(path, plan);
    for (const [name, { begin, end }] of source.entries) {
      const bytes = new Uint8Array(end - begin);
      await source.read(begin, bytes);
      const half = bytes.length >> 1;
      await writer.write(name, half, bytes.subarray(half));
      await writer.write(name, 0, bytes.subarray(0, half));
    }
    await writer.finish();
    const [ours, theirs] = [await readFile(path), await readFile(reference)];
    expect(ours.length).toBe(plan.byteLength);
    expect(createHash('sha256').update(ours).digest('hex')).toBe(createHash('sha256').update(theirs).digest('hex'));
  });

  it('plans files that it can read, whatever the dtype', async () => {
    const all = Object.keys(DTYPE_BITS).map((dtype) => ({ name: dtype, dtype, shape: [4, 2] }) as SafetensorsTensor);
    const plan = planSafetensors([...all, { name: '__proto__', dtype: 'U8', shape: [2] }]);
    expect(plan.header.length % 8).toBe(0);
    await using file = await openBytes(
      Buffer.concat([plan.header, Buffer.alloc(plan.byteLength - plan.header.length)]),
    );
    expect(new Map(file.entries)).toEqual(plan.entries);
  });

  it.each([
    ['a name twice', [tensors[0], tensors[0]], /two tensors of that name/],
    ['the name of the metadata', [{ name: '__metadata__', dtype: 'U8', shape: [] }], /another name/],
    ['a negative size', [{ name: 'x', dtype: 'U8', shape: [-1] }], /shape \[-1\] of U8/],
    ['half a byte', [{ name: 'x', dtype: 'F4', shape: [1] }], /a whole number of bytes/],
    ['an impossible size', [{ name: 'x', dtype: 'F32', shape: [2 ** 40, 2 ** 40] }], /a whole number of bytes/],
    ['65 dimensions', [{ name: 'x', dtype: 'U8', shape: Array(65).fill(1) }], /a whole number of bytes/],
    ['a name of 64 KiB', [{ name: 'x'.repeat(65_535), dtype: 'U8', shape: [] }], /more than 64 KiB/],
    ['half of a surrogate pair', [{ name: '\ud800', dtype: 'U8', shape: [] }], /surrogate/],
  ])('refuses to plan %s', (_, list, message) => {
    expect(() => planSafetensors(list as SafetensorsTensor[])).toThrow(ArgumentError);
    expect(() => planSafetensors(list as SafetensorsTensor[])).toThrow(message);
  });

  it('refuses unplanned bytes, and to finish before all bytes are written', async () => {
    const plan = planSafetensors([{ name: 'x', dtype: 'U8', shape: [4] }]);
    await using writer = await createSafetensors(join(folder, 'unfinished'), plan);
    await expect(writer.write('y', 0, new Uint8Array(1))).rejects.toThrow(/planned tensors only/);
    await expect(writer.write('x', 2, new Uint8Array(3))).rejects.toThrow(/3 bytes at 2, expected the planned 4 bytes/);
    await expect(writer.write('x', -1, new Uint8Array(1))).rejects.toThrow(ArgumentError);
    await writer.write('x', 0, new Uint8Array(3));
    await expect(writer.finish()).rejects.toThrow(/1 bytes were not written/);
    await writer.write('x', 3, new Uint8Array(1));
    await writer.finish();
    await expect(writer.write('x', 0, new Uint8Array(1))).rejects.toThrow(/the file is closed/);
  });

  it('names the path when it cannot be created', async () => {
    const plan = planSafetensors([]);
    expect((await failure(createSafetensors(join(folder, 'none', 'x'), plan))).message).toMatch(/none/);
    expect((await failure(createSafetensors('/dev/full', plan))).message).toMatch(/the disk is full/);
  });
});
