import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DTYPE_BITS } from '../src/checkpoint/safetensors-header.ts';
import {
  createSafetensors,
  openSafetensors,
  planSafetensors,
  type SafetensorsTensor,
} from '../src/checkpoint/safetensors.ts';
import { Random } from '../src/data/random.ts';
import { ArgumentError, FileError } from '../src/errors.ts';

const reference = fileURLToPath(new URL('fixtures/safetensors/python-0.5.3.safetensors', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'palm-safetensors-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** The bytes of a file with this header, which may be anything, and this many bytes of data. */
function fileOf(header: string | Uint8Array, dataBytes = 0, declared?: bigint): Buffer {
  const json = Buffer.from(header as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(declared ?? BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes, 7)]);
}

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

const a = (shape: string, offsets: string, dtype = 'F32') =>
  `"a":{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;

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

  it('names a tensor that is near the missing one', async () => {
    await using file = await openSafetensors(reference);
    expect(() => file.entry('hal')).toThrow(/Did you mean "half"/);
  });

  it('keeps names that objects give a meaning', async () => {
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
    ['half bytes that add up', `{${a('[2,3]', '[0,3]', 'F4')}}`, 3],
    ['escaped names', `{"\\u0061\\n\\"":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}`, 1],
  ])('takes %s', async (_, header, dataBytes) => {
    await using file = await openBytes(fileOf(header, dataBytes));
    expect(file.entries).toBeInstanceOf(Map);
  });

  it.each([
    ['an empty file', Buffer.alloc(0), /got 0 bytes, expected at least the 8/],
    ['seven bytes', Buffer.alloc(7), /got 7 bytes/],
    ['the largest header length', fileOf('{}', 0, 2n ** 64n - 1n), /18446744073709551615, expected at most 100000000/],
    ['a header of 100,000,001 bytes', fileOf('{}', 0, 100_000_001n), /at most 100000000/],
    ['a header longer than the file', fileOf('{}', 0, 3n), /header length of 3, expected at most the 2/],
    ['a header of 99 MB in a short file', fileOf('{}', 0, 99_000_000n), /at most the 2 that follow/],
    ['bytes that are not UTF-8', fileOf(Buffer.from([0x7b, 0xff, 0x7d])), /not valid UTF-8/],
    ['a byte order mark', fileOf(Buffer.from('\ufeff{}')), /at character 0 of the header, expected {/],
    ['an empty header', fileOf(''), /its end at character 0/],
    ['an open brace', fileOf('{'), /expected a key/],
    ['something after the object', fileOf('{}x'), /"x" at character 2 of the header, expected the end/],
    ['a second object', fileOf('{}{}'), /expected the end of the header/],
    ['a form feed', fileOf('{}\f'), /expected the end of the header/],
    ['an array', fileOf('[]'), /expected {/],
    ['a number', fileOf('1'), /expected {/],
    ['a comma at the end', fileOf(`{${a('[]', '[0,4]')},}`, 4), /expected a key/],
    ['two tensors of one name', fileOf(`{${a('[]', '[0,4]')},${a('[]', '[0,4]')}}`, 4), /"a" twice/],
    ['an empty tensor twice', fileOf(`{${a('[0]', '[0,0]')},${a('[0]', '[0,0]')}}`), /"a" twice/],
    ['the same name, once escaped', fileOf(`{${a('[0]', '[0,0]')},"\\u0061":{}}`), /"a" twice/],
    ['two metadata', fileOf('{"__metadata__":{},"__metadata__":{}}'), /"__metadata__" twice/],
    ['metadata that are a string', fileOf('{"__metadata__":"x"}'), /expected {/],
    ['metadata that are null', fileOf('{"__metadata__":null}'), /expected {/],
    ['a number in the metadata', fileOf('{"__metadata__":{"step":1}}'), /expected a string, as all metadata are/],
    ['an object in the metadata', fileOf('{"__metadata__":{"x":{}}}'), /expected a string/],
    ['equal keys in the metadata', fileOf('{"__metadata__":{"x":"1","x":"1"}}'), /"x" twice/],
    ['a tensor that is a list', fileOf('{"a":[]}'), /expected {/],
    ['no dtype', fileOf('{"a":{"shape":[],"data_offsets":[0,4]}}', 4), /only shape and data_offsets, expected dtype/],
    ['nothing of a tensor', fileOf('{"a":{}}'), /only {}, expected dtype/],
    ['one key more', fileOf('{"a":{"dtype":"F32","strides":[1]}}'), /"strides", expected dtype, shape/],
    ['a key twice', fileOf('{"a":{"dtype":"F32","dtype":"F32"}}'), /"dtype" twice/],
    ['an unknown dtype', fileOf(`{${a('[1]', '[0,4]', 'F31')}}`, 4), /dtype "F31", expected one of BOOL/],
    ['a dtype that objects have', fileOf(`{${a('[1]', '[0,4]', 'toString')}}`, 4), /dtype "toString"/],
    ['a dtype that is a number', fileOf('{"a":{"dtype":1}}'), /expected a dtype/],
    ['a negative size', fileOf(`{${a('[-1]', '[0,4]')}}`, 4), /an integer from 0/],
    ['a size of -0', fileOf(`{${a('[-0]', '[0,0]')}}`), /an integer from 0/],
    ['a size of 1.0', fileOf(`{${a('[1.0]', '[0,4]')}}`, 4), /an integer from 0/],
    ['a size of 1e0', fileOf(`{${a('[1e0]', '[0,4]')}}`, 4), /an integer from 0/],
    ['a size of 01', fileOf(`{${a('[01]', '[0,4]')}}`, 4), /an integer from 0/],
    ['a size that is a string', fileOf(`{${a('["1"]', '[0,4]')}}`, 4), /an integer from 0/],
    ['a size of 2^53', fileOf(`{${a('[9007199254740992]', '[0,4]')}}`, 4), /an integer from 0/],
    ['a shape that is a number', fileOf(`{${a('1', '[0,4]')}}`, 4), /expected \[/],
    ['one offset', fileOf(`{${a('[1]', '[4]')}}`, 4), /got 1 data_offsets, expected two/],
    ['three offsets', fileOf(`{${a('[1]', '[0,4,8]')}}`, 4), /got 3 data_offsets/],
    ['an offset of 4.0', fileOf(`{${a('[1]', '[0,4.0]')}}`, 4), /an integer from 0/],
    ['an end before its begin', fileOf(`{${a('[1]', '[4,0]')}}`, 4), /\[4, 0\], expected begin not after end/],
    [
      'a hole at the beginning',
      fileOf(`{${a('[1]', '[4,8]')}}`, 8),
      /from 4 \(a hole before it\), expected data from 0/,
    ],
    ['a hole inside', fileOf(`{${a('[1]', '[0,4]')},${a('[1]', '[8,12]').replace('a', 'b')}}`, 12), /"b": .*a hole/],
    ['an overlap', fileOf(`{${a('[1]', '[0,4]')},${a('[1]', '[2,6]').replace('a', 'b')}}`, 6), /"b": .*an overlap/],
    ['an alias', fileOf(`{${a('[1]', '[0,4]')},${a('[1]', '[0,4]').replace('a', 'b')}}`, 4), /"b": .*an overlap/],
    ['too many elements to count', fileOf(`{${a('[4294967296,4294967296]', '[0,4]')}}`, 4), /a whole number of bytes/],
    ['too many bits to count', fileOf(`{${a('[9007199254740991]', '[0,4]')}}`, 4), /a whole number of bytes/],
    ['half a byte', fileOf(`{${a('[3]', '[0,1]', 'F4')}}`, 1), /a whole number of bytes/],
    [
      'fewer bytes than its shape',
      fileOf(`{${a('[2]', '[0,4]')}}`, 4),
      /got 4 bytes, expected 8 for shape \[2\] of F32/,
    ],
    ['more bytes than its shape', fileOf(`{${a('[]', '[0,8]')}}`, 8), /got 8 bytes, expected 4/],
    ['a byte too few', fileOf(`{${a('[1]', '[0,4]')}}`, 3), /3 bytes of data \(the file is cut short\)/],
    ['a byte too many', fileOf(`{${a('[1]', '[0,4]')}}`, 5), /5 bytes of data \(something else follows\)/],
    ['data without tensors', fileOf('{}', 1), /something else follows/],
    ['half of a surrogate pair', fileOf('{"\\ud800":{}}'), /a valid string/],
    ['a bad escape', fileOf('{"\\x":{}}'), /a valid string/],
    ['a raw line feed in a name', fileOf('{"\n":{}}'), /a valid string/],
    ['a name without an end', fileOf('{"abc'), /a valid string/],
    ['deep nesting', fileOf(`{"a":${'['.repeat(100_000)}`), /expected {/],
  ])('refuses %s', async (_, bytes, message) => {
    const error = await failure(openBytes(bytes));
    expect(error.message).toMatch(message);
    expect(error.message).toContain('file.safetensors');
    expect(error.expected).toBeDefined();
    expect(error.fix).toBeDefined();
  });

  it('escapes control characters of names in its messages', async () => {
    const error = await failure(openBytes(fileOf('{"\\u001b[31m":{}}')));
    expect(error.message).toContain('\\u001b[31m');
    expect(error.message).not.toContain('\u001b');
  });

  it('refuses what is not there or not a file', async () => {
    expect((await failure(openSafetensors(join(folder, 'none')))).message).toMatch(/does not exist/);
    expect((await failure(openSafetensors(folder))).message).toMatch(/not a regular file/);
    expect((await failure(openSafetensors(join(reference, 'below')))).message).toMatch(/not a folder/);
  });

  it('notices a file that is cut while it is read', async () => {
    await using file = await openBytes(fileOf(`{${a('[1]', '[0,4]')}}`, 4));
    const { begin } = file.entry('a');
    await truncate(file.path, begin + 2);
    expect((await failure(file.read(begin, new Uint8Array(4)))).message).toMatch(/its end at byte/);
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

  it('gives the bytes that the Python library gives', async () => {
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
    expect(file.entries).toEqual(plan.entries);
  });

  it.each([
    ['a name twice', [tensors[0], tensors[0]], /two of that name/],
    ['the name of the metadata', [{ name: '__metadata__', dtype: 'U8', shape: [] }], /another name/],
    ['a negative size', [{ name: 'x', dtype: 'U8', shape: [-1] }], /shape \[-1\] of U8/],
    ['half a byte', [{ name: 'x', dtype: 'F4', shape: [1] }], /whole bytes/],
    ['an impossible size', [{ name: 'x', dtype: 'F32', shape: [2 ** 40, 2 ** 40] }], /whole bytes/],
    ['half of a surrogate pair', [{ name: '\ud800', dtype: 'U8', shape: [] }], /surrogate/],
  ])('refuses to plan %s', (_, list, message) => {
    expect(() => planSafetensors(list as SafetensorsTensor[])).toThrow(ArgumentError);
    expect(() => planSafetensors(list as SafetensorsTensor[])).toThrow(message);
  });

  it('refuses bytes that were not planned, and to finish before all are there', async () => {
    const plan = planSafetensors([{ name: 'x', dtype: 'U8', shape: [4] }]);
    await using writer = await createSafetensors(join(folder, 'unfinished'), plan);
    await expect(writer.write('y', 0, new Uint8Array(1))).rejects.toThrow(/no such tensor/);
    await expect(writer.write('x', 2, new Uint8Array(3))).rejects.toThrow(
      /3 bytes at 2, expected what was planned: 4 bytes/,
    );
    await expect(writer.write('x', -1, new Uint8Array(1))).rejects.toThrow(ArgumentError);
    await writer.write('x', 0, new Uint8Array(3));
    await expect(writer.finish()).rejects.toThrow(/all but 1 bytes/);
    await writer.write('x', 3, new Uint8Array(1));
    await writer.finish();
    await expect(writer.write('x', 0, new Uint8Array(1))).rejects.toThrow(/it is closed/);
  });

  it('names the path when it cannot be created', async () => {
    const plan = planSafetensors([]);
    expect((await failure(createSafetensors(join(folder, 'none', 'x'), plan))).message).toMatch(/none/);
    expect((await failure(createSafetensors('/dev/full', plan))).message).toMatch(/the disk is full/);
  });
});

describe('4000 damaged files', () => {
  const SNIPPETS = [
    '{',
    '}',
    '[',
    ']',
    ',',
    '"',
    '\\',
    '-1',
    '1e9',
    '99999999999999999999',
    '"a"',
    '\0',
    '\xff',
    ' ',
    '0',
  ];

  function damage(original: Buffer, random: Random): Buffer {
    let bytes = Buffer.from(original);
    for (let count = 1 + random.int(4); count > 0; count--) {
      const at = random.int(random.int(2) ? bytes.length : Math.min(bytes.length, 640));
      const kind = random.int(5);
      if (bytes.length === 0) return bytes;
      if (kind === 0) bytes[at] = random.int(256);
      else if (kind === 1) bytes = bytes.subarray(0, at);
      else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.int(40))]);
      else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random.int(at + 1))]);
      else {
        const snippet = Buffer.from(SNIPPETS[random.int(SNIPPETS.length)] as string, 'latin1');
        bytes = Buffer.concat([bytes.subarray(0, at), snippet, bytes.subarray(at + random.int(2) * snippet.length)]);
      }
    }
    return bytes;
  }

  it('are read or refused, without a large allocation', async () => {
    const original = await readFile(reference);
    const random = new Random(7);
    const before = process.resourceUsage().maxRSS;
    let refused = 0;
    for (let i = 0; i < 4000; i++) {
      const bytes = damage(original, random);
      try {
        await using file = await openBytes(bytes);
        for (const { begin, end } of file.entries.values()) {
          expect(end).toBeLessThanOrEqual(bytes.length);
          await file.read(begin, new Uint8Array(end - begin));
        }
      } catch (error) {
        expect(error).toBeInstanceOf(FileError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(3000);
    expect(refused).toBeLessThan(4000);
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(100_000); // kilobytes
  });
});
