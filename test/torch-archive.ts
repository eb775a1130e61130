/** Files as torch.save writes them, and files that it never would: an archive of records, a pickle opcode by opcode. */
import { crc32 } from 'node:zlib';

/** A record; everything but name and data is what an attacker changes. */
export interface ArchiveRecord {
  name: string;
  data: Uint8Array;
  flags?: number;
  method?: number;
  /** What the directory says in place of the truth. */
  crc?: number;
  size?: number;
  stored?: number;
  at?: number;
  /** What the header before the data says in place of the directory's. */
  localName?: string;
  localFlags?: number;
  /** Sizes and place in 64 bits, as records of 4 GB have them. */
  wide?: boolean;
  /** Bytes between this record and the next. */
  after?: Uint8Array;
}

/** What torch.save sets: sizes follow the data, names are UTF-8. */
const FLAGS = 0x0808;

/** The archive of these records: data at multiples of 64, sizes behind them, and both kinds of end, as PyTorch writes it. */
export function archive(records: readonly ArchiveRecord[], directory: Partial<Directory> = {}): Buffer {
  const parts: Buffer[] = [];
  const entries: Buffer[] = [];
  let at = 0;
  for (const record of records) {
    const name = Buffer.from(record.name);
    const flags = record.flags ?? FLAGS;
    const crc = record.crc ?? crc32(record.data);
    const size = record.size ?? record.data.length;
    const local = localHeader(record, flags, at);
    const sizes = record.wide ? [size, 0, size, 0] : [record.stored ?? size, size];
    const descriptor = flags & 8 ? words(0x08074b50, crc, ...sizes) : Buffer.alloc(0);
    const extra = record.wide ? words(0x00180001, size, 0, size, 0, at, 0) : Buffer.alloc(0);
    const fields = [record.method ?? 0, 0, 0];
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(flags, 8);
    for (const [i, value] of fields.entries()) entry.writeUInt16LE(value, 10 + 2 * i);
    for (const [i, value] of [crc, record.stored ?? size, size].entries()) entry.writeUInt32LE(value, 16 + 4 * i);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt16LE(extra.length, 30);
    entry.writeUInt32LE(record.at ?? at, 42);
    if (record.wide) for (const field of [20, 24, 42]) entry.writeUInt32LE(0xffffffff, field);
    entries.push(Buffer.concat([entry, name, extra]));
    const all = Buffer.concat([local, record.data, descriptor, record.after ?? Buffer.alloc(0)]);
    parts.push(all);
    at += all.length;
  }
  const listed = Buffer.concat(entries);
  return Buffer.concat([
    ...parts,
    listed,
    ends(at + listed.length, { begin: at, size: listed.length, count: records.length, ...directory }),
  ]);
}

interface Directory {
  begin: number;
  size: number;
  count: number;
}

function localHeader({ name, data, method = 0, localName, localFlags, crc }: ArchiveRecord, flags: number, at: number) {
  const bytes = Buffer.from(localName ?? name);
  const padding = Buffer.alloc((((-(at + 30 + bytes.length + 4) % 64) + 64) % 64) + 4, 'Z');
  padding.write('FB');
  padding.writeUInt16LE(padding.length - 4, 2);
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(localFlags ?? flags, 6);
  header.writeUInt16LE(method, 8);
  if ((flags & 8) === 0) {
    header.writeUInt32LE(crc ?? crc32(data), 14);
    header.writeUInt32LE(data.length, 18);
    header.writeUInt32LE(data.length, 22);
  }
  header.writeUInt16LE(bytes.length, 26);
  header.writeUInt16LE(padding.length, 28);
  return Buffer.concat([header, bytes, padding]);
}

/** What stands behind the directory, from byte `at` on. */
function ends(at: number, { begin, size, count }: Directory): Buffer {
  const wide = Buffer.alloc(56);
  wide.writeUInt32LE(0x06064b50, 0);
  wide.writeBigUInt64LE(44n, 4);
  wide.writeUInt16LE(0x031e, 12);
  wide.writeUInt16LE(45, 14);
  for (const [i, value] of [count, count, size, begin].entries()) wide.writeBigUInt64LE(BigInt(value), 24 + 8 * i);
  const locator = words(0x07064b50, 0, at, 0, 1);
  const narrow = Buffer.alloc(22);
  narrow.writeUInt32LE(0x06054b50, 0);
  narrow.writeUInt16LE(Math.min(count, 0xffff), 8);
  narrow.writeUInt16LE(Math.min(count, 0xffff), 10);
  narrow.writeUInt32LE(size, 12);
  narrow.writeUInt32LE(begin, 16);
  return Buffer.concat([wide, locator, narrow]);
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i);
  return bytes;
}

/** Pieces of a pickle; `Buffer.concat` and `finished` make a whole one of them. */
export const op = {
  mark: Buffer.from('('),
  tuple: Buffer.from('t'),
  emptyTuple: Buffer.from(')'),
  emptyList: Buffer.from(']'),
  emptyDict: Buffer.from('}'),
  append: Buffer.from('a'),
  setItem: Buffer.from('s'),
  setItems: Buffer.from('u'),
  reduce: Buffer.from('R'),
  build: Buffer.from('b'),
  persistent: Buffer.from('Q'),
  no: Buffer.from([0x89]),
  none: Buffer.from('N'),
  put: (slot: number) => Buffer.from([0x71, slot]),
  get: (slot: number) => Buffer.from([0x68, slot]),
  int: (value: number) => Buffer.concat([Buffer.from('J'), words(value >>> 0)]),
  long: (value: bigint) => {
    const bytes = Buffer.alloc(10);
    bytes.writeUInt16LE(0x088a);
    bytes.writeBigInt64LE(value, 2);
    return bytes;
  },
  text: (value: string) => Buffer.concat([Buffer.from('X'), words(Buffer.byteLength(value)), Buffer.from(value)]),
  global: (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`),
};

/** A whole pickle of protocol 2 that leaves the value of `parts`. */
export function finished(...parts: Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from([0x80, 2]), ...parts, Buffer.from('.')]);
}

/** A tuple of what `parts` leave. */
export function tupleOf(...parts: Uint8Array[]): Buffer {
  return Buffer.concat([op.mark, ...parts, op.tuple]);
}

/** An empty OrderedDict. */
export const orderedDict = Buffer.concat([op.global('collections', 'OrderedDict'), op.emptyTuple, op.reduce]);

/** The opcodes of a tensor of `elements` elements in storage `key`, as torch.save writes them. */
export function tensorOf(view: TensorView): Buffer {
  const {
    key,
    elements,
    offset = 0,
    shape,
    strides = contiguous(shape),
    type = 'FloatStorage',
    stored = elements,
  } = view;
  const id = tupleOf(op.text('storage'), op.global('torch', type), op.text(key), op.text('cpu'), op.int(stored));
  const sizes = tupleOf(...shape.map(integer));
  const args = [id, op.persistent, integer(offset), sizes, tupleOf(...strides.map(integer)), op.no, orderedDict];
  return Buffer.concat([op.global('torch._utils', '_rebuild_tensor_v2'), tupleOf(...args), op.reduce]);
}

interface TensorView {
  key: string;
  elements: number;
  offset?: number;
  shape: readonly number[];
  strides?: readonly number[];
  type?: string;
  /** What the pickle says of `elements`. */
  stored?: number;
}

function integer(value: number): Buffer {
  return value >= 2 ** 31 ? op.long(BigInt(value)) : op.int(value);
}

function contiguous(shape: readonly number[]): number[] {
  return shape.map((_, i) => shape.slice(i + 1).reduce((product, size) => product * size, 1));
}

/** A dict of these names and the opcodes of their values. */
export function dictOf(items: Iterable<readonly [name: string, value: Uint8Array]>): Buffer {
  const pairs = [...items].flatMap(([name, value]) => [op.text(name), value]);
  return Buffer.concat([orderedDict, op.mark, ...pairs, op.setItems]);
}

/** An archive of torch.save with this pickle and these storages, by key. */
export function torchArchive(pickle: Uint8Array, storages: Iterable<readonly [string, Uint8Array]> = []): Buffer {
  return archive(torchRecords(pickle, storages));
}

/** The records of such an archive. */
export function torchRecords(
  pickle: Uint8Array,
  storages: Iterable<readonly [string, Uint8Array]> = [],
): ArchiveRecord[] {
  return [
    { name: 'm/data.pkl', data: pickle },
    { name: 'm/byteorder', data: Buffer.from('little') },
    ...[...storages].map(([key, data]) => ({ name: `m/data/${key}`, data })),
    { name: 'm/version', data: Buffer.from('3\n') },
  ];
}

/** Named float32 tensors. */
export type Weights = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;

/** The opcodes of a state_dict of these weights, and its storages; equal arrays are one storage, as tied weights are. */
export function stateDictOf(weights: Weights): { pickle: Buffer; storages: Map<string, Uint8Array> } {
  const keys = new Map<Float32Array, string>();
  for (const { data } of weights.values()) if (!keys.has(data)) keys.set(data, String(keys.size));
  const tensors = [...weights].map(([name, { shape, data }]): [string, Buffer] => [
    name,
    tensorOf({ key: keys.get(data) as string, elements: data.length, shape }),
  ]);
  const bytes = (data: Float32Array) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { pickle: dictOf(tensors), storages: new Map([...keys].map(([data, key]) => [key, bytes(data)])) };
}

/** The file that torch.save makes of a state_dict. */
export function torchFileOf(weights: Weights): Buffer {
  const { pickle, storages } = stateDictOf(weights);
  return torchArchive(finished(pickle), storages);
}
