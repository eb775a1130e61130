/** GGUF files, good and bad: what readers of them are tested with. */
import type { GgufReason } from '../src/errors.ts';

/** The numbers that stand for types of values. */
export const TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  text: 8,
  list: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;
export type ValueType = keyof typeof TYPES;

/** A key of the metadata with its value, encoded. */
export type Pair = readonly [key: string, encoded: Buffer];
export interface GgufTensor {
  name: string;
  /** The contiguous size first, as in the file. */
  sizes: readonly (number | bigint)[];
  type?: number;
  /** From the beginning of the data; by default right behind the tensor before it. */
  offset?: number | bigint;
  /** How many bytes it takes; four for each number by default. */
  bytes?: number;
}

export const u32 = (value: number) => write(4, (buffer) => buffer.writeUInt32LE(value));
export const u64 = (value: number | bigint) => write(8, (buffer) => buffer.writeBigUInt64LE(BigInt(value)));
const write = (bytes: number, fill: (buffer: Buffer) => void) => {
  const buffer = Buffer.alloc(bytes);
  fill(buffer);
  return buffer;
};
export const text = (value: string | Buffer) => {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([u64(bytes.length), bytes]);
};
const NUMBERS: Record<Exclude<ValueType, 'text' | 'list'>, (value: number) => Buffer> = {
  u8: (value) => write(1, (buffer) => buffer.writeUInt8(value)),
  i8: (value) => write(1, (buffer) => buffer.writeInt8(value)),
  u16: (value) => write(2, (buffer) => buffer.writeUInt16LE(value)),
  i16: (value) => write(2, (buffer) => buffer.writeInt16LE(value)),
  u32,
  i32: (value) => write(4, (buffer) => buffer.writeInt32LE(value)),
  f32: (value) => write(4, (buffer) => buffer.writeFloatLE(value)),
  bool: (value) => write(1, (buffer) => buffer.writeUInt8(value)),
  u64,
  i64: (value) => write(8, (buffer) => buffer.writeBigInt64LE(BigInt(value))),
  f64: (value) => write(8, (buffer) => buffer.writeDoubleLE(value)),
};

/** A value of the metadata, with its type. */
export function value(type: ValueType, content: number | string): Buffer {
  const body = type === 'text' ? text(content as string) : NUMBERS[type as 'u8'](content as number);
  return Buffer.concat([u32(TYPES[type]), body]);
}

/** A list of the metadata, with its types. `count` is what the file says of its length. */
export function list(type: ValueType, values: readonly (number | string)[], count: number | bigint = values.length) {
  const body = values.map((one) => (type === 'text' ? text(one as string) : NUMBERS[type as 'u8'](one as number)));
  return Buffer.concat([u32(TYPES.list), u32(TYPES[type]), u64(count), ...body]);
}

export interface GgufContent {
  magic?: string;
  version?: number;
  alignment?: number;
  tensorCount?: number | bigint;
  keyCount?: number | bigint;
  metadata?: readonly Pair[];
  tensors?: readonly GgufTensor[];
  /** The data; zeros for all tensors by default. */
  data?: Buffer;
}

/** The bytes of a file. */
export function gguf({ magic = 'GGUF', version = 3, alignment = 32, ...content }: GgufContent = {}): Buffer {
  const { metadata = [], tensors = [] } = content;
  const begin = Buffer.concat([Buffer.from(magic), u32(version)]);
  const counts = [u64(content.tensorCount ?? tensors.length), u64(content.keyCount ?? metadata.length)];
  let end = 0;
  const described = tensors.map(({ name, sizes, type = 0, offset, bytes }) => {
    const at = offset ?? Math.ceil(end / alignment) * alignment;
    end = Number(at) + (bytes ?? 4 * sizes.reduce((product: number, size) => product * Number(size), 1));
    return Buffer.concat([text(name), u32(sizes.length), ...sizes.map(u64), u32(type), u64(at)]);
  });
  const pairs = metadata.flatMap(([key, encoded]) => [text(key), encoded]);
  const header = Buffer.concat([begin, ...counts, ...pairs, ...described]);
  const padding = Buffer.alloc((alignment - (header.length % alignment)) % alignment);
  return Buffer.concat([header, padding, content.data ?? Buffer.alloc(Math.min(end, 1 << 20), 1)]);
}

type Malformed = readonly [what: string, bytes: Buffer, message: RegExp];
/** Reasons that no content of a header gives: see the tests. */
type OtherReasons = 'not-a-file' | 'no-such-tensor' | 'bad-metadata' | 'unsupported';

const one = (tensor: Partial<GgufTensor>, more: GgufContent = {}) =>
  gguf({ tensors: [{ name: 'a', sizes: [32], ...tensor }], ...more });
const two = (tensor: Partial<GgufTensor>) =>
  gguf({
    tensors: [
      { name: 'a', sizes: [32] },
      { name: 'b', sizes: [32], ...tensor },
    ],
  });
const key = (encoded: Buffer) => gguf({ metadata: [['k', encoded]] });

/** Files that break a rule of the format, by the reason that the reader must give. */
export const MALFORMED: Record<Exclude<GgufReason, OtherReasons>, Malformed[]> = {
  'bad-magic': [
    ['a file of something else', gguf({ magic: 'GGML' }), /begins with "GGML", expected "GGUF"/],
    ['a zip archive', gguf({ magic: 'PK\x03\x04' }), /It is a zip archive/],
  ],
  'big-endian': [['a big-endian file', gguf({ version: 0x03000000 }), /gguf_convert_endian/]],
  'bad-version': [
    ['version 1, whose lengths have 32 bits', gguf({ version: 1 }), /version 1, expected version 2 or 3/],
    ['version 4', gguf({ version: 4 }), /version 4/],
  ],
  truncated: [
    ['an empty file', Buffer.alloc(0), /got 0 bytes, expected at least 4/],
    ['a magic alone', Buffer.from('GGUF'), /got 4 bytes, expected at least 8/],
    ['a header cut off', gguf().subarray(0, 20), /got 20 bytes, expected at least 24|can hold/],
    ['more keys than there can be', gguf({ keyCount: 2n ** 64n - 1n }), /18446744073709551615 keys/],
    ['more tensors than there can be', gguf({ tensorCount: 2n ** 60n }), /1152921504606846976 tensors/],
    ['a text longer than the file', key(Buffer.concat([u32(TYPES.text), u64(2n ** 63n)])), /9223372036854775808 bytes/],
    ['a list longer than the file', key(list('f64', [], 2n ** 61n)), /2305843009213693952 numbers/],
    ['a list of texts longer than the file', key(list('text', [], 10_000)), /10000 texts/],
    ['a key without a value', gguf({ keyCount: 1 }), /keys at byte 16|got 32 bytes/],
    ['fewer tensors than said', gguf({ tensors: [{ name: 'a', sizes: [1] }], tensorCount: 3 }), /tensor|expected/],
    ['data cut off', one({}, { data: Buffer.alloc(127) }), /got 191 bytes of file, expected data up to byte 192/],
    ['a tensor far behind the end', one({ sizes: [2 ** 40] }), /data up to byte 4398046511168/],
  ],
  'header-too-large': [
    [
      'a list of 70 MB',
      gguf({ metadata: [['k', list('u8', [], 70_000_000)]], data: Buffer.alloc(70e6) }),
      /a header of more than 67108864 bytes/,
    ],
  ],
  'too-many-values': [
    [
      '4,000,001 texts',
      gguf({ metadata: [['k', list('text', [], 4_000_001)]], data: Buffer.alloc(33e6) }),
      /more than 4000000 keys and texts/,
    ],
  ],
  'too-many-tensors': [
    ['100,001 tensors', gguf({ tensorCount: 100_001, data: Buffer.alloc(100_001 * 32) }), /100001 .*at most 100000/],
  ],
  'bad-string': [
    ['a value that is not UTF-8', key(Buffer.concat([u32(TYPES.text), text(Buffer.from([0xff, 0xfe]))])), /not UTF-8/],
    ['a surrogate', key(Buffer.concat([u32(TYPES.text), text(Buffer.from([0xed, 0xa0, 0x80]))])), /not UTF-8/],
    ['a key of 65,536 bytes', gguf({ metadata: [['k'.repeat(65_536), value('u8', 1)]] }), /65536 bytes/],
    ['a name of 65,536 bytes', one({ name: 'k'.repeat(65_536) }), /65536 bytes/],
  ],
  'duplicate-key': [
    [
      'a key twice',
      gguf({
        metadata: [
          ['k', value('u8', 1)],
          ['k', value('u8', 1)],
        ],
      }),
      /the key "k" twice/,
    ],
  ],
  'duplicate-tensor': [['a tensor twice', two({ name: 'a' }), /the tensor "a" twice/]],
  'unknown-value-type': [
    ['a value of type 13', key(Buffer.concat([u32(13), u64(0)])), /type 13/],
    ['a list of type 99', key(Buffer.concat([u32(TYPES.list), u32(99), u64(0)])), /type 99/],
  ],
  'nested-array': [
    ['a list of lists', key(Buffer.concat([u32(TYPES.list), u32(TYPES.list), u64(1), u64(0)])), /a list of lists/],
  ],
  'bad-boolean': [
    ['2 as a boolean', key(value('bool', 2)), /2 as true or false/],
    ['a list with 255 as a boolean', key(list('bool', [0, 1, 255])), /255 as true or false/],
  ],
  'bad-alignment': [
    ['no alignment', gguf({ metadata: [['general.alignment', value('u32', 0)]] }), /got 0, expected a power of 2/],
    ['an alignment of 48', gguf({ metadata: [['general.alignment', value('u32', 48)]] }), /48/],
    ['an alignment of 2^31', gguf({ metadata: [['general.alignment', value('u32', 2 ** 31)]] }), /2147483648/],
    ['a text as the alignment', gguf({ metadata: [['general.alignment', value('text', '32')]] }), /"32"/],
    ['a negative alignment', gguf({ metadata: [['general.alignment', value('i32', -32)]] }), /-32/],
  ],
  'bad-shape': [
    ['no dimensions', one({ sizes: [] }), /0 dimensions/],
    ['five dimensions', one({ sizes: [1, 1, 1, 1, 1] }), /5 dimensions/],
    ['2^32 - 1 dimensions', patched(one({}), 24 + 8 + 1, [255, 255, 255, 255]), /4294967295 dimensions/],
    ['a size of 0', one({ sizes: [32, 0] }), /sizes of at least 1/],
  ],
  overflow: [
    ['sizes whose product is 2^64', one({ sizes: [2n ** 32n, 2n ** 32n] }), /at most 2\^48/],
    ['sizes whose product wraps to 32', one({ sizes: [32n, 2n ** 63n + 1n, 2n] }), /at most 2\^48/],
    ['an offset of 2^63', one({ offset: 2n ** 63n }), /offset 9223372036854775808/],
  ],
  'unknown-dtype': [
    ['a type that is not read', one({ type: 20, bytes: 18 }), /got numbers of IQ4_NL, expected one of F32/],
    ['a type that was removed', one({ type: 4, bytes: 20 }), /numbers of type 4/],
    ['no type at all', one({ type: 2 ** 32 - 1, bytes: 20 }), /numbers of type 4294967295/],
  ],
  'partial-block': [
    ['rows of 33', one({ sizes: [33], type: 2, bytes: 36 }), /rows of 33 numbers, expected blocks of 32 for Q4_0/],
    [
      'K-quants in rows of 32',
      one({ sizes: [32, 8], type: 12, bytes: 144 }),
      /rows of 32 numbers, expected blocks of 256/,
    ],
  ],
  misaligned: [['an offset of 4', two({ offset: 4 }), /offset 4, expected a multiple of 32/]],
  hole: [
    ['a hole before the first', one({ offset: 32 }), /data from byte 96, expected data from byte 64/],
    ['a hole between', two({ offset: 160 }), /data from byte/],
  ],
  overlap: [
    ['the same bytes', two({ offset: 0 }), /data from byte/],
    ['a part of the same bytes', two({ offset: 96 }), /data from byte/],
  ],
};

function patched(bytes: Buffer, at: number, put: number[]): Buffer {
  const copy = Buffer.from(bytes);
  copy.set(put, at);
  return copy;
}
