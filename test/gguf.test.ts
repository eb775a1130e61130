/** GGUF files: what is read from good ones, and why bad ones are refused. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FileError, GgufError } from '../src/errors.ts';
import { openGguf } from '../src/files/gguf/gguf.ts';
import { gguf, list, MALFORMED, type Pair, value } from './gguf-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-gguf-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'model.gguf');

function written(bytes: Buffer): string {
  writeFileSync(path, bytes);
  return path;
}

async function refusal(bytes: Buffer): Promise<GgufError> {
  const error = await openGguf(written(bytes)).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(GgufError);
  return error as GgufError;
}

const METADATA: Pair[] = [
  ['u8', value('u8', 255)],
  ['i8', value('i8', -128)],
  ['u16', value('u16', 65_535)],
  ['i16', value('i16', -3)],
  ['u32', value('u32', 2 ** 32 - 1)],
  ['i32', value('i32', -7)],
  ['f32', value('f32', 0.5)],
  ['bool', value('bool', 1)],
  ['text', value('text', 'Ġ\u{1f600}\0')],
  ['u64', value('u64', 2 ** 40)],
  ['i64', value('i64', -5)],
  ['f64', value('f64', 0.1)],
  ['__proto__', value('text', 'a key like any other')],
  ['texts', list('text', ['a', '', 'é'])],
  ['floats', list('f32', [1, -2])],
  ['booleans', list('bool', [1, 0])],
  ['none', list('i64', [])],
];

describe('a good file', () => {
  it.each([2, 3])('has metadata of every type: version %i', async (version) => {
    await using file = await openGguf(written(gguf({ version, metadata: METADATA })));
    const values = Object.fromEntries(
      [...file.metadata.values].map(([key, value]) => [key === '__proto__' ? 'proto' : key, value]),
    );
    expect(values).toEqual({
      ...{ u8: 255, i8: -128, u16: 65_535, i16: -3, u32: 2 ** 32 - 1, i32: -7, f32: 0.5, bool: true },
      ...{ text: 'Ġ\u{1f600}\0', u64: 2 ** 40, i64: -5, f64: 0.1, proto: 'a key like any other' },
      ...{ texts: ['a', '', 'é'], floats: Float32Array.of(1, -2), booleans: Uint8Array.of(1, 0) },
      ...{ none: new BigInt64Array(0) },
    });
  });

  it('keeps integers that no number holds exactly', async () => {
    const metadata: Pair[] = [
      ['k', Buffer.concat([value('u32', 0).subarray(0, 0), Buffer.from([10, 0, 0, 0]), Buffer.alloc(8, 255)])],
    ];
    await using file = await openGguf(written(gguf({ metadata })));
    expect(file.metadata.values.get('k')).toBe(2n ** 64n - 1n);
  });

  it('has tensors with their sizes in our order, at their bytes', async () => {
    const data = Buffer.from(Uint8Array.from({ length: 64 + 40 }, (_, i) => i));
    const tensors = [
      { name: 'a', sizes: [3, 2, 1], bytes: 24 },
      { name: 'b', sizes: [32, 2], type: 3, bytes: 40 },
    ];
    const alignment: Pair = ['general.alignment', value('u32', 64)];
    await using file = await openGguf(written(gguf({ tensors, data, alignment: 64, metadata: [alignment] })));
    const a = file.entry('a');
    expect(a).toMatchObject({ format: 'F32', shape: [1, 2, 3] });
    expect(a.begin % 64).toBe(0);
    expect(file.entry('b')).toEqual({ format: 'Q4_1', shape: [2, 32], begin: a.begin + 64, end: a.begin + 104 });
    const bytes = new Uint8Array(40);
    await file.read(file.entry('b').begin, bytes);
    expect([...bytes]).toEqual(Array.from({ length: 40 }, (_, i) => 64 + i));
    expect(() => file.entry('c')).toThrow(/no tensor named "c"/);
  });

  it('may have tensors in any order in the file, and bytes behind the last', async () => {
    const tensors = [
      { name: 'b', sizes: [32], offset: 128 },
      { name: 'a', sizes: [32], offset: 0 },
    ];
    await using file = await openGguf(written(gguf({ tensors, data: Buffer.alloc(500) })));
    expect(file.entry('a').end).toBe(file.entry('b').begin);
  });

  it('is read across the edges of the window', async () => {
    const words = Array.from({ length: 50_000 }, (_, i) => `word ${i} ${'é'.repeat(i % 13)}`);
    const long = 'x'.repeat(700_000);
    const metadata: Pair[] = [
      ['words', list('text', words)],
      ['long', value('text', long)],
      ['last', value('u32', 7)],
    ];
    await using file = await openGguf(written(gguf({ metadata })));
    expect(file.metadata.texts('words')).toEqual(words);
    expect(file.metadata.text('long')).toBe(long);
    expect(file.metadata.count('last')).toBe(7);
  });
});

describe('metadata of another kind', () => {
  it('is an error that names the file and the key', async () => {
    await using file = await openGguf(written(gguf({ metadata: METADATA })));
    const { metadata } = file;
    for (const wrong of [
      () => metadata.text('u8'),
      () => metadata.count('i8'),
      () => metadata.count('f32'),
      () => metadata.texts('text'),
      () => metadata.findNumber('text'),
      () => metadata.findNumbers('texts'),
      () => metadata.findFlag('u8'),
      () => metadata.count('missing'),
    ]) {
      let error: unknown;
      try {
        wrong();
      } catch (caught) {
        error = caught;
      }
      expect(error).toBeInstanceOf(GgufError);
      expect((error as GgufError).reason).toBe('bad-metadata');
      expect((error as GgufError).argument).toMatch(/model\.gguf, \w/);
    }
    expect(metadata.findText('missing')).toBeUndefined();
  });
});

describe('a file that breaks a rule', () => {
  const all = Object.entries(MALFORMED).flatMap(([reason, files]) =>
    files.map(([what, bytes, message]) => ({ reason, what, bytes, message })),
  );

  it.each(all)('$reason: $what', async ({ reason, bytes, message }) => {
    const error = await refusal(bytes);
    expect(error).toMatchObject({ reason, code: 'ERR_GGUF' });
    expect(error.message).toMatch(message);
    expect(error.fix).toBeTruthy();
  });

  it('is refused if it is no file, or missing', async () => {
    await expect(openGguf(folder)).rejects.toMatchObject({ reason: 'not-a-file' });
    await expect(openGguf('/dev/null')).rejects.toMatchObject({ reason: 'not-a-file' });
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await expect(openGguf(pipe)).rejects.toMatchObject({ reason: 'not-a-file' });
    const missing = await openGguf(join(folder, 'missing')).catch((error: unknown) => error);
    expect(missing).toBeInstanceOf(FileError);
    expect(missing).not.toBeInstanceOf(GgufError);
  });

  it('is refused wherever a good one is cut off', async () => {
    const whole = gguf({ metadata: METADATA, tensors: [{ name: 'a', sizes: [32] }] });
    for (let length = 0; length < whole.length; length++) {
      expect(['truncated', 'bad-magic']).toContain((await refusal(whole.subarray(0, length))).reason);
    }
  });
});
