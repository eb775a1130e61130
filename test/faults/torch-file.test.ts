/** Hostile .pt files: nothing in them is executed, nothing is allocated for what they only claim, every rule has its own word. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { checkDerived, meanGamma } from '../../src/import/palm-rlhf-pytorch/convert.ts';
import { StateDict } from '../../src/import/palm-rlhf-pytorch/state-dict.ts';
import { openTorchFile } from '../../src/import/torch/torch-file.ts';
import { Random } from '../../src/data/random.ts';
import { FileError, TorchFileError } from '../../src/errors.ts';
import {
  type ArchiveRecord,
  archive,
  dictOf,
  finished,
  op,
  tensorOf,
  torchArchive,
  torchRecords,
  tupleOf,
} from '../torch-archive.ts';
import { record, times } from './report.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-hostile-'));
afterAll(() => rmSync(folder, { recursive: true }));
const canary = join(folder, 'canary');
const path = join(folder, 'hostile.pt');

const four = new Uint8Array(16);
const fine = finished(tensorOf({ key: '0', elements: 4, shape: [4] }));
const storages: [string, Uint8Array][] = [['0', four]];

/** A pickle beside a storage of four numbers. */
const pickled = (...parts: Uint8Array[]) => torchArchive(finished(...parts), storages);
/** A tensor that is not what it should be. */
const view = (change: Partial<Parameters<typeof tensorOf>[0]>) =>
  pickled(tensorOf({ key: '0', elements: 4, shape: [4], ...change }));
/** The archive of a fine pickle with one record changed. */
const changed = (name: string, change: Partial<ArchiveRecord>) =>
  archive(torchRecords(fine, storages).map((one) => (one.name === name ? { ...one, ...change } : one)));
/** The same with another record behind it. */
const more = (one: Partial<ArchiveRecord> & { name: string }) =>
  archive([...torchRecords(fine, storages), { data: Buffer.from('x'), ...one }]);
/** What Python calls when it unpickles this: a shell that makes the canary. */
const shell = (module: string, name: string) =>
  pickled(op.global(module, name), tupleOf(op.text(`touch ${canary}`)), op.reduce);
const repeated = (count: number, ...parts: Uint8Array[]) => Buffer.concat(Array(count).fill(Buffer.concat(parts)));
const storageId = tupleOf(
  op.text('storage'),
  op.global('torch', 'FloatStorage'),
  op.text('0'),
  op.text('cpu'),
  op.int(4),
);
const rebuild = op.global('torch._utils', '_rebuild_tensor_v2');

function patched(bytes: Buffer, at: number, patch: (bytes: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  patch(copy.subarray(at < 0 ? copy.length + at : at));
  return copy;
}

function tar(): Buffer {
  const bytes = Buffer.alloc(1024);
  bytes.write('storages', 0);
  bytes.write('ustar', 257);
  return bytes;
}

const HOSTILE: [what: string, reason: string, bytes: () => Uint8Array][] = [
  // Code: what unpickling would execute.
  ['os.system', 'pickle-global', () => shell('os', 'system')],
  ['posix.system', 'pickle-global', () => shell('posix', 'system')],
  ['builtins.eval', 'pickle-global', () => shell('__builtin__', 'eval')],
  ['torch.load', 'pickle-global', () => shell('torch', 'load')],
  ['a name on the list, in another module', 'pickle-global', () => shell('evil', 'OrderedDict')],
  ['a global that ends at no line', 'pickle-global', () => pickled(Buffer.from(`c${'x'.repeat(300)}`))],
  ['a class by OBJ', 'pickle-opcode', () => pickled(op.mark, op.global('torch', 'Size'), Buffer.from('o'))],
  ['a class by NEWOBJ', 'pickle-opcode', () => pickled(op.global('torch', 'Size'), op.emptyTuple, Buffer.from([0x81]))],
  ['a class by INST', 'pickle-opcode', () => pickled(op.mark, Buffer.from('ios\nsystem\n'))],
  ['a global by STACK_GLOBAL', 'pickle-opcode', () => pickled(op.text('os'), op.text('system'), Buffer.from([0x93]))],
  ['an extension code', 'pickle-opcode', () => pickled(Buffer.from([0x82, 1]))],
  ['a call of a type', 'pickle-reduce', () => pickled(op.global('torch', 'float32'), op.emptyTuple, op.reduce)],
  ['a call of a text', 'pickle-reduce', () => pickled(op.text('os'), op.emptyTuple, op.reduce)],
  ['attributes of a list', 'pickle-build', () => pickled(op.emptyList, op.emptyDict, op.build)],
  [
    'attributes of a tensor',
    'pickle-build',
    () => pickled(tensorOf({ key: '0', elements: 4, shape: [4] }), op.emptyDict, op.build),
  ],
  ['a program of TorchScript', 'torchscript', () => more({ name: 'm/code/__torch__.py' })],
  ['constants of TorchScript', 'torchscript', () => more({ name: 'm/constants.pkl' })],
  ['a bare pickle', 'legacy-pickle', () => Buffer.concat([finished(op.global('os', 'system')), Buffer.alloc(600)])],
  ['a tar archive', 'tar', tar],
  // Memory: what would be written or read outside, or allocated.
  [
    'an item of a tensor',
    'pickle-setitem',
    () => pickled(tensorOf({ key: '0', elements: 4, shape: [4] }), op.int(0), op.int(1), op.setItem),
  ],
  ['an item of a list', 'pickle-setitem', () => pickled(op.emptyList, op.int(0), op.int(1), op.setItem)],
  ['a key without a value', 'pickle-setitem', () => pickled(op.emptyDict, op.mark, op.int(0), op.setItems)],
  ['an element of a dict', 'pickle-append', () => pickled(op.emptyDict, op.int(0), op.append)],
  ['a list as a key', 'pickle-key', () => pickled(op.emptyDict, op.emptyList, op.int(1), op.setItem)],
  ['more stored than there is', 'storage-size', () => view({ stored: 4000 })],
  ['less stored than there is', 'storage-size', () => view({ elements: 2, shape: [2] })],
  ['a storage that is not there', 'storage-missing', () => view({ key: '7' })],
  ['a storage outside of the folder', 'storage-missing', () => view({ key: '../../../etc/passwd' })],
  ['4 numbers as 10^12', 'tensor-expanded', () => view({ shape: [1e6, 1e6], strides: [0, 0] })],
  ['sizes whose product is not exact', 'tensor-expanded', () => view({ shape: [2 ** 40, 2 ** 40], strides: [0, 0] })],
  ['a view that ends outside', 'tensor-bounds', () => view({ offset: 1 })],
  ['strides that leave the storage', 'tensor-bounds', () => view({ shape: [2, 2], strides: [3, 1] })],
  ['strides of 2^52', 'tensor-bounds', () => view({ shape: [2, 2], strides: [2 ** 52, 2 ** 52] })],
  ['a negative offset', 'tensor-arguments', () => view({ offset: -1 })],
  ['a negative stride', 'tensor-arguments', () => view({ strides: [-1] })],
  ['a size of 2^62', 'tensor-arguments', () => view({ shape: [2 ** 62] })],
  ['nine dimensions', 'tensor-rank', () => view({ shape: [4, 1, 1, 1, 1, 1, 1, 1, 1] })],
  ['more sizes than strides', 'tensor-rank', () => view({ shape: [2, 2], strides: [1] })],
  ['a tensor without a storage', 'tensor-arguments', () => pickled(rebuild, tupleOf(op.int(0), op.int(0)), op.reduce)],
  [
    'hooks',
    'tensor-arguments',
    () =>
      pickled(
        rebuild,
        tupleOf(storageId, op.persistent, op.int(0), tupleOf(op.int(4)), tupleOf(op.int(1)), op.no, op.emptyList),
        op.reduce,
      ),
  ],
  ['a persistent id that is a text', 'pickle-storage', () => pickled(op.text('storage'), op.persistent)],
  [
    'a storage without a type',
    'pickle-storage',
    () =>
      pickled(
        tupleOf(op.text('storage'), op.text('torch.FloatStorage'), op.text('0'), op.text('cpu'), op.int(4)),
        op.persistent,
      ),
  ],
  [
    '17 tensors of all that is stored',
    'shared-storage',
    () => pickled(tupleOf(...Array(17).fill(tensorOf({ key: '0', elements: 4, shape: [4] })))),
  ],
  ['a text of 4 GB', 'pickle-limits', () => pickled(Buffer.from([0x58, 0xff, 0xff, 0xff, 0xff]))],
  ['a text that ends outside', 'pickle-truncated', () => pickled(Buffer.from([0x58, 0xff, 0, 0, 0]))],
  ['a text that is not UTF-8', 'pickle-text', () => pickled(Buffer.from([0x55, 1, 0xff]))],
  ['an integer of 255 bytes', 'pickle-integer', () => pickled(Buffer.from([0x8a, 255]), Buffer.alloc(255))],
  ['an integer of 2 GB', 'pickle-opcode', () => pickled(Buffer.from([0x8b, 0xff, 0xff, 0xff, 0x7f]))],
  ['200,000 lists', 'pickle-limits', () => pickled(repeated(200_000, op.emptyList, Buffer.from([0x85])))],
  [
    '400,000 things to remember',
    'pickle-limits',
    () => pickled(op.none, Buffer.concat(Array.from({ length: 400_000 }, (_, i) => longPut(i)))),
  ],
  ['a stack of 200,000', 'pickle-limits', () => pickled(repeated(200_000, op.none))],
  ['two million opcodes', 'pickle-limits', () => pickled(op.none, repeated(2_000_000, op.mark))],
  ['tuples in tuples, 101 deep', 'pickle-nesting', () => pickled(op.emptyTuple, repeated(101, Buffer.from([0x85])))],
  ['a list in itself', 'pickle-nesting', () => pickled(op.emptyList, op.put(0), op.get(0), op.append)],
  [
    'a list in its tuple in its dict',
    'pickle-nesting',
    () => pickled(op.emptyList, op.put(0), op.emptyDict, op.text('a'), op.get(0), op.setItem, op.append),
  ],
  ['a data.pkl of 65 MB', 'pickle-size', () => torchArchive(Buffer.alloc(65 * 1024 * 1024))],
  // Sense: a stack machine that is led astray.
  ['a value of nothing', 'pickle-stack', () => pickled()],
  ['two values', 'pickle-stack', () => pickled(op.none, op.none)],
  ['a mark that stays', 'pickle-stack', () => pickled(op.none, op.mark)],
  ['a tuple without a mark', 'pickle-stack', () => pickled(op.none, op.tuple)],
  [
    'a call across a mark',
    'pickle-stack',
    () => pickled(op.global('torch', 'Size'), op.mark, op.emptyTuple, op.reduce),
  ],
  ['a memory that was never filled', 'pickle-memo', () => pickled(op.get(3))],
  [
    'something after the end',
    'pickle-trailing',
    () => torchArchive(Buffer.concat([finished(op.none), op.global('os', 'system')])),
  ],
  ['no end', 'pickle-truncated', () => torchArchive(Buffer.from([0x80, 2, 0x4e]))],
  ['protocol 4', 'pickle-protocol', () => torchArchive(Buffer.from([0x80, 4, 0x4e, 0x2e]))],
  ['no protocol', 'pickle-protocol', () => torchArchive(Buffer.from('N.'))],
  // The archive: two readers that see two files.
  ['nothing', 'not-zip', () => Buffer.alloc(0)],
  ['a file of another kind', 'not-zip', () => Buffer.from('%PDF-1.7 and so on, for longer than the end of an archive')],
  ['a safetensors file', 'safetensors', () => Buffer.from('\x02\0\0\0\0\0\0\0{}')],
  ['something before it', 'not-zip', () => Buffer.concat([Buffer.from('#!/bin/sh\n'), torchArchive(fine, storages)])],
  ['something after it', 'no-end', () => Buffer.concat([torchArchive(fine, storages), Buffer.from('PK')])],
  ['half of it', 'no-end', () => torchArchive(fine, storages).subarray(0, 700)],
  ['the beginning alone', 'truncated', () => torchArchive(fine, storages).subarray(0, 10)],
  ['a comment at the end', 'no-end', () => patched(torchArchive(fine, storages), -2, (end) => end.writeUInt16LE(1))],
  [
    'two ends that differ',
    'end-mismatch',
    () => patched(torchArchive(fine, storages), -14, (end) => end.writeUInt32LE(0x00030003)),
  ],
  ['many disks', 'disks', () => patched(torchArchive(fine, storages), -18, (end) => end.writeUInt16LE(1))],
  [
    'more records than are read',
    'too-many-records',
    () => archive(Array.from({ length: 10_001 }, (_, i) => ({ name: `m/data/${i}`, data: new Uint8Array() }))),
  ],
  ['a directory of 4 GB', 'truncated', () => archive(torchRecords(fine), { size: 2 ** 32 - 1 })],
  ['a directory elsewhere', 'directory-place', () => archive(torchRecords(fine), { begin: 0 })],
  ['fewer records than it lists', 'directory-size', () => archive(torchRecords(fine), { count: 2 })],
  ['more records than it lists', 'directory-entry', () => archive(torchRecords(fine), { count: 9 })],
  ['two records of one name', 'duplicate-record', () => more({ name: 'm/data.pkl' })],
  ['two records in one place', 'overlap', () => more({ name: 'm/data/1', at: 0 })],
  [
    'a record that reaches into another',
    'local-mismatch',
    () => changed('m/data.pkl', { size: fine.length + 100, stored: fine.length + 100 }),
  ],
  ['bytes between two records', 'hole', () => changed('m/byteorder', { after: Buffer.alloc(5) })],
  ['a compressed record', 'compressed', () => changed('m/data/0', { method: 8 })],
  ['a record of 4 GB in 16 bytes', 'compressed', () => changed('m/data/0', { size: 4e9, stored: 16 })],
  ['an encrypted record', 'encrypted', () => changed('m/data/0', { flags: 0x0809 })],
  ['flags of patches', 'flags', () => changed('m/data/0', { flags: 0x0828 })],
  ['another name before the data', 'local-mismatch', () => changed('m/data/0', { localName: 'm/data/1' })],
  ['other flags before the data', 'local-mismatch', () => changed('m/data/0', { localFlags: 0 })],
  [
    'another checksum before the data',
    'local-mismatch',
    () => patched(changed('m/data.pkl', { flags: 0 }), 14, (crc) => crc.writeUInt8(1)),
  ],
  [
    'no header before the data',
    'local-header',
    () =>
      patched(more({ name: 'm/data/1' }), more({ name: 'm/data/1' }).indexOf('m/data/1') - 30, (at) =>
        at.fill(0, 0, 4),
      ),
  ],
  ['a changed byte', 'checksum', () => changed('m/data/0', { crc: 1 })],
  ['a name that climbs', 'record-name', () => more({ name: 'm/../../evil' })],
  ['an absolute name', 'record-name', () => more({ name: '/etc/passwd' })],
  ['a name of Windows', 'record-name', () => more({ name: 'm\\data' })],
  ['a name that a terminal obeys', 'record-name', () => more({ name: 'm/\u001b[2J' })],
  ['a record in another folder', 'roots', () => more({ name: 'n/data.pkl' })],
  ['a record that torch.save does not write', 'unknown-record', () => more({ name: 'm/run.sh' })],
  ['no data.pkl', 'no-pickle', () => archive(torchRecords(fine).slice(1))],
  ['numbers with the large end first', 'byte-order', () => changed('m/byteorder', { data: Buffer.from('big') })],
];

function longPut(slot: number): Buffer {
  const bytes = Buffer.alloc(5, 'r');
  bytes.writeUInt32LE(slot, 1);
  return bytes;
}

/** All that `palm import` does with a file before it writes. */
async function look(file: string): Promise<void> {
  await using opened = await openTorchFile(file);
  const state = new StateDict(opened);
  await checkDerived(opened, state);
  await meanGamma(opened, state);
  for (const tensor of state.entries.values()) for await (const piece of opened.pieces(tensor)) void piece;
}

async function refusal(bytes: Uint8Array): Promise<TorchFileError> {
  writeFileSync(path, bytes);
  const error = await openTorchFile(path).then(
    () => expect.fail('this should have been refused'),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(TorchFileError);
  return error as TorchFileError;
}

describe('hostile .pt files', () => {
  it.each(HOSTILE)('%s: %s', async (_, reason, bytes) => {
    const error = await refusal(bytes());
    expect([error.reason, error.code]).toEqual([reason, 'ERR_TORCH_FILE']);
    expect(error.message.length).toBeLessThan(700);
    expect(/\p{Cc}/u.test(error.message)).toBe(false);
  });

  it('execute nothing', () => {
    expect(existsSync(canary)).toBe(false);
    record({
      promise: 'A .pt file executes nothing and is read only if it is a state_dict',
      fault: 'hand-made files: globals, opcodes, calls, bombs, ambiguous archives, old formats',
      times: HOSTILE.length,
      outcome: `each refused with one of ${new Set(HOSTILE.map(([, reason]) => reason)).size} reasons; the canary was never made`,
    });
  });

  it('have a name for every reason in the source', () => {
    const sources = ['zip', 'pickle', 'torch-file'].map((stem) =>
      readFileSync(fileURLToPath(new URL(`../../src/import/torch/${stem}.ts`, import.meta.url)), 'utf8'),
    );
    const calls = /(?:bad\(\s*(?:zip,\s*)?|TorchFileError\()'([a-z-]+)'/g;
    const reasons = new Set(
      sources.flatMap((source) => [...source.matchAll(calls)].map(([, reason]) => reason as string)),
    );
    const shown = new Set(HOSTILE.map(([, reason]) => reason));
    expect([...reasons].filter((reason) => !shown.has(reason))).toEqual(['not-a-file']);
    expect([...shown].filter((reason) => !reasons.has(reason))).toEqual([]);
  });

  it('that are folders are refused', async () => {
    const error = (await openTorchFile(folder).catch((error: unknown) => error)) as TorchFileError;
    expect(error.reason).toBe('not-a-file');
  });
});

/** Opens a file in a process of its own, reads all tensors, and prints by how much that raised the peak of its memory. */
const MEASURE = `
import { readFileSync } from 'node:fs';
const { openTorchFile } = await import(process.env.MODULE);
const read = async (path) => {
  const file = await openTorchFile(path);
  let bytes = 0;
  for (const tensor of file.root.entries.values()) for await (const piece of file.pieces(tensor)) bytes += piece.length;
  await file.close();
  return bytes;
};
// Not maxRSS, which a process inherits from the one that started it.
const peak = () => 1024 * Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
await read(process.argv[1]); // compiles what runs
const before = process.memoryUsage.rss();
const outcome = await read(process.argv[2]).catch((error) => error.reason);
console.log(JSON.stringify({ outcome, grown: peak() - before }));
`;

function measure(bytes: Uint8Array): { outcome: number | string; grown: number } {
  const small = join(folder, 'small.pt');
  writeFileSync(
    small,
    torchArchive(finished(dictOf([['a', tensorOf({ key: '0', elements: 4, shape: [4] })]])), storages),
  );
  writeFileSync(path, bytes);
  const env = { ...process.env, MODULE: new URL('../../src/import/torch/torch-file.ts', import.meta.url).href };
  const args = ['--import', 'tsx', '--input-type=module', '-e', MEASURE, small, path];
  const { stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

const MEGABYTE = 1024 * 1024;

describe('memory', () => {
  const numbers = new Uint8Array(64 * MEGABYTE);
  const rows = { key: '0', elements: 4096 * 4096, shape: [4096, 4096] };
  const model = (strides?: number[]) =>
    torchArchive(finished(dictOf([['a', tensorOf({ ...rows, strides })]])), [['0', numbers]]);
  const text = (bytes: number) => Buffer.concat([Buffer.from([0x58, 0, 0, 0, bytes >>> 24]), Buffer.alloc(bytes)]);
  const filled = Buffer.concat([op.emptyDict, op.text('a'), op.none, op.setItem]);
  const bombs: [string, () => Buffer, number | string][] = [
    ['64 MB of numbers, row by row', () => model(), numbers.length],
    ['64 MB of numbers, column by column', () => model([1, 4096]), numbers.length],
    ['40 MB of texts', () => pickled(repeated(40, op.text('x'.repeat(MEGABYTE)))), 'pickle-stack'],
    ['a text of 48 MB', () => pickled(text(48 * MEGABYTE)), 'pickle-limits'],
    ['60 million lists', () => pickled(Buffer.alloc(60 * MEGABYTE, ']')), 'pickle-limits'],
    ['60 million dicts', () => pickled(Buffer.alloc(60 * MEGABYTE, '}')), 'pickle-limits'],
    ['60 million marks', () => pickled(Buffer.alloc(60 * MEGABYTE, '(')), 'pickle-limits'],
    ['20,000 dicts with something in them', () => pickled(repeated(20_000, filled)), 'pickle-limits'],
    ['a tensor of 10^12', () => view({ shape: [1e6, 1e6], strides: [0, 0] }), 'tensor-expanded'],
  ];
  let most = 0;

  it.each(bombs)('of %s is at most twice the file and 32 MB', (_, make, outcome) => {
    const bytes = make();
    const measured = measure(bytes);
    expect(measured.outcome).toBe(outcome);
    most = Math.max(most, measured.grown - 2 * bytes.length);
    expect(measured.grown).toBeLessThan(2 * bytes.length + 32 * MEGABYTE);
  });

  it('of all such files is recorded', () => {
    record({
      promise: 'A .pt file takes no more memory than twice its size and 32 MB',
      fault: 'numbers, texts, lists and dicts by the million, in a process of their own',
      times: bombs.length,
      outcome: `at most twice the file and ${Math.max(0, Math.ceil(most / MEGABYTE))} MB`,
    });
  });
});

/** A state_dict of a small model, as torch.save writes it. */
function smallModel() {
  const shapes: [string, number[]][] = [
    ...[
      ['token_emb.weight', [5, 4]],
      ['layers.0.fn.norm.gamma', [4]],
      ['layers.0.fn.norm.beta', [4]],
    ],
    ...[
      ['layers.0.fn.rotary_emb.inv_freq', [1]],
      ['layers.0.fn.rotary_emb.scale', [1]],
    ],
    ...[
      ['layers.0.fn.fused_attn_ff_proj.weight', [14, 4]],
      ['layers.0.fn.attn_out.weight', [4, 2]],
    ],
    ...[
      ['layers.0.fn.ff_out.2.weight', [4, 4]],
      ['norm.gamma', [4]],
      ['norm.beta', [4]],
    ],
  ] as [string, number[]][];
  // All in one storage, so that few bytes are archive and most are pickle.
  let elements = 0;
  const places = shapes.map(([name, shape]) => {
    const offset = elements;
    elements += shape.reduce((product, length) => product * length, 1);
    return { name, shape, offset };
  });
  places.push({ name: 'to_logits.weight', shape: [5, 4], offset: 0 });
  const tensors = places.map(({ name, ...place }) => [name, tensorOf({ key: '0', elements, ...place })] as const);
  return { pickle: dictOf(tensors), storages: new Map([['0', new Uint8Array(4 * elements)]]) };
}

describe('mutations', () => {
  const { pickle, storages } = smallModel();
  const whole = finished(pickle);
  const valid = torchArchive(whole, storages);
  const random = new Random(7);

  /** Some bytes changed, moved, doubled or cut away. */
  function mutate(bytes: Buffer): Buffer {
    const copy = Buffer.from(bytes);
    const at = random.int(copy.length);
    const length = 1 + random.int(8);
    switch (random.int(6)) {
      case 0:
        copy[at] = random.int(256);
        return copy;
      case 1:
        copy[at] = (copy[at] as number) ^ (1 << random.int(8));
        return copy;
      case 2:
        return Buffer.concat([copy.subarray(0, at), copy.subarray(at + length)]);
      case 3:
        return Buffer.concat([copy.subarray(0, at + length), copy.subarray(at)]);
      case 4:
        copy.copy(copy, at, random.int(copy.length), copy.length);
        return copy;
      default:
        copy.fill([0, 255, 0x7f][random.int(3)] as number, at, Math.min(at + length, copy.length));
        return copy;
    }
  }

  it('the file that is mutated is fine', async () => {
    writeFileSync(path, valid);
    await look(path);
  });

  it('give typed errors or a model, each at once', { timeout: 3_600_000 }, async () => {
    const count = times(10_000, 100_000);
    const outcomes = new Map<string, number>();
    let slowest = 0;
    for (let i = 0; i < count; i++) {
      // Most bytes of a file are under a checksum: half of the mutations come before it is computed.
      const bytes = i % 2 === 0 ? mutate(valid) : torchArchive(mutate(whole), storages);
      writeFileSync(path, bytes);
      const begin = process.cpuUsage(); // of this process, whatever else the machine does
      const error: unknown = await look(path).catch((error: unknown) => error);
      const { user, system } = process.cpuUsage(begin);
      slowest = Math.max(slowest, (user + system) / 1e6);
      if (error !== undefined && !(error instanceof FileError)) throw error;
      const outcome = error instanceof TorchFileError ? error.reason : error instanceof FileError ? 'model' : 'fine';
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    expect(outcomes.size).toBeGreaterThan(25);
    expect(slowest).toBeLessThan(1); // seconds
    expect(existsSync(canary)).toBe(false);
    record({
      promise: 'Any bytes that are not a model are a typed error at once',
      fault: 'seeded mutations of a valid .pt file, half of them below its checksums',
      times: count,
      outcome: `only typed errors, of ${outcomes.size} kinds, or a valid model; at most ${slowest.toFixed(2)} s each`,
    });
  });
});
