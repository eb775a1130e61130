/** Safetensors files that break a rule of the format, by the reason that the reader must give. */
import type { SafetensorsReason } from '../src/errors.ts';

/** What is wrong, the bytes of the file, and what the message says. */
type Malformed = readonly [what: string, bytes: Buffer, message: RegExp];
/** Reasons that no content of a file gives: see the tests. */
type OtherReasons = 'not-a-file' | 'no-such-tensor';

/** The bytes of a file with this header, which may be anything, and this many bytes of data. */
export function fileOf(header: string | Uint8Array, dataBytes = 0, declared?: bigint): Buffer {
  const json = Buffer.from(header as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(declared ?? BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes, 7)]);
}

/** A member of a header: the tensor `name`. */
export function tensor(name: string, shape: string, offsets: string, dtype = 'F32'): string {
  return `"${name}":{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
}

/** A file with the tensor `a`. */
function one(shape: string, offsets: string, dataBytes = 0, dtype = 'F32'): Buffer {
  return fileOf(`{${tensor('a', shape, offsets, dtype)}}`, dataBytes);
}

/** A file with the tensors `a`, four bytes at the beginning, and `b` of the same size. */
function two(offsets: string, dataBytes: number, shape = '[1]'): Buffer {
  return fileOf(`{${tensor('a', '[1]', '[0,4]')},${tensor('b', shape, offsets)}}`, dataBytes);
}

/** The same with one byte of `a` as `b`. */
function inside(): Buffer {
  return fileOf(`{${tensor('a', '[1]', '[0,4]')},${tensor('b', '[1]', '[1,2]', 'U8')}}`, 4);
}

export const MALFORMED: Record<Exclude<SafetensorsReason, OtherReasons>, Malformed[]> = {
  'too-short': [
    ['an empty file', Buffer.alloc(0), /got 0 bytes, expected at least 8/],
    ['seven bytes', Buffer.alloc(7), /got 7 bytes/],
  ],
  'header-too-large': [
    ['the largest header length', fileOf('{}', 0, 2n ** 64n - 1n), /18446744073709551615, expected at most 100000000/],
    ['a header length of 2^63', fileOf('{}', 0, 2n ** 63n), /9223372036854775808/],
    ['a header length that 32 bits cut to 2', fileOf('{}', 0, 2n ** 32n + 2n), /4294967298/],
    ['a header of 2 MB that is most of its file', fileOf(' '.repeat(2e6), 1e6), /at most 1500004, half of the file/],
    ['a header of 100,000,001 bytes', fileOf('{}', 0, 100_000_001n), /at most 100000000/],
    ['the header of a pickle', Buffer.from('PK\x03\x04 archive/data.pkl'), /palm import/],
  ],
  'header-cut-off': [
    ['a header longer than the file', fileOf('{}', 0, 3n), /header length of 3, expected at most the 2/],
    ['a header of 99 MB in a short file', fileOf('{}', 0, 99_000_000n), /at most the 2 that follow/],
    ['a length and nothing more', fileOf('', 0, 1n), /at most the 0 that follow/],
  ],
  'too-many-tensors': [
    [
      '100,001 tensors',
      fileOf(`{${Array.from({ length: 100_001 }, (_, i) => tensor(String(i), '[0]', '[0,0]')).join()}}`, 7e6),
      /at most 100000 tensors/,
    ],
  ],
  'not-utf8': [
    ['a byte that never is', fileOf(Buffer.from([0x7b, 0xff, 0x7d])), /not UTF-8/],
    ['a character in too many bytes', fileOf(Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22])), /not UTF-8/],
    ['half of a surrogate pair, as bytes', fileOf(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])), /not UTF-8/],
    ['a character that is cut off', fileOf(Buffer.from([0x7b, 0x22, 0xe2, 0x82])), /not UTF-8/],
  ],
  'not-an-object': [
    ['a byte order mark', fileOf(Buffer.from('\ufeff{}')), /at byte 8, expected {/],
    ['an empty header', fileOf(''), /the end at byte 8/],
    ['an array', fileOf('[]'), /expected {/],
    ['a number', fileOf('1'), /expected {/],
    ['a NUL', fileOf('\0{}'), /expected {/],
  ],
  'bad-json': [
    ['an open brace', fileOf('{'), /the end at byte 9, expected a key/],
    ['something after the object', fileOf('{}x'), /"x" at byte 10, expected the end/],
    ['a second object', fileOf('{}{}'), /expected the end of the header/],
    ['a form feed', fileOf('{}\f'), /expected the end of the header/],
    ['a NUL after the object', fileOf('{}\0'), /expected the end of the header/],
    ['a comma at the end', fileOf(`{${tensor('a', '[]', '[0,4]')},}`, 4), /expected a key/],
    ['no colon', fileOf('{"a"{}}'), /expected :/],
    ['no comma', fileOf(`{${tensor('a', '[]', '[0,4]')} "b"`, 4), /expected , or }/],
    ['a list that does not end', fileOf('{"a":{"shape":[1'), /the end at byte 24, expected , or \]/],
    ['a comma too many in a list', fileOf('{"a":{"shape":[1;2]}}'), /expected , or \]/],
  ],
  'bad-string': [
    ['half of a surrogate pair', fileOf('{"\\ud800":{}}'), /at byte 9, expected a valid string/],
    ['the wrong half of a surrogate pair', fileOf('{"\\udc00\\ud800":{}}'), /a valid string/],
    ['a bad escape', fileOf('{"\\x":{}}'), /a valid string/],
    ['a raw line feed in a name', fileOf('{"\n":{}}'), /a valid string/],
    ['a name without an end', fileOf('{"abc'), /a valid string/],
    ['a name of 64 KiB', fileOf(`{${tensor('x'.repeat(65_535), '[]', '[0,4]')}}`, 4), /at most 65536 bytes/],
    ['a name that ends with a backslash', fileOf('{"abc\\'), /a valid string/],
  ],
  'duplicate-key': [
    [
      'two tensors of one name',
      fileOf(`{${tensor('a', '[]', '[0,4]')},${tensor('a', '[]', '[0,4]')}}`, 4),
      /duplicate key "a"/,
    ],
    [
      'an empty tensor twice',
      fileOf(`{${tensor('a', '[0]', '[0,0]')},${tensor('a', '[0]', '[0,0]')}}`),
      /duplicate key "a"/,
    ],
    [
      'the same name, once escaped',
      fileOf(`{${tensor('a', '[0]', '[0,0]')},${tensor('\\u0061', '[0]', '[0,0]')}}`),
      /duplicate key "a"/,
    ],
    [
      '__proto__ twice',
      fileOf(`{${tensor('__proto__', '[0]', '[0,0]')},${tensor('__proto__', '[0]', '[0,0]')}}`),
      /duplicate key "__proto__"/,
    ],
    ['two metadata', fileOf('{"__metadata__":{},"__metadata__":{}}'), /duplicate key "__metadata__"/],
    ['equal keys in the metadata', fileOf('{"__metadata__":{"x":"1","x":"1"}}'), /duplicate key "x"/],
    ['a key of a tensor twice', fileOf('{"a":{"dtype":"F32","dtype":"F32"}}'), /duplicate key "dtype"/],
  ],
  'bad-metadata': [
    ['metadata that are a string', fileOf('{"__metadata__":"x"}'), /expected {/],
    ['metadata that are null', fileOf('{"__metadata__":null}'), /expected {/],
    ['metadata that are a list', fileOf('{"__metadata__":[]}'), /expected {/],
    [
      'a number in the metadata',
      fileOf('{"__metadata__":{"step":1}}'),
      /expected a string, as all metadata values are/,
    ],
    ['an object in the metadata', fileOf('{"__metadata__":{"x":{}}}'), /expected a string/],
  ],
  'bad-tensor': [
    ['a tensor that is a list', fileOf('{"a":[]}'), /expected {/],
    ['a tensor that is null', fileOf('{"a":null}'), /"null}" at byte 13, expected {/],
    ['deep nesting', fileOf(`{"a":${'['.repeat(100_000)}`), /expected {/],
  ],
  'unknown-key': [['strides', fileOf('{"a":{"dtype":"F32","strides":[1]}}'), /"strides", expected only dtype, shape/]],
  'missing-key': [
    ['no dtype', fileOf('{"a":{"shape":[],"data_offsets":[0,4]}}', 4), /only shape and data_offsets, expected dtype/],
    ['no shape', fileOf('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4), /only dtype and data_offsets/],
    ['no data_offsets', fileOf('{"a":{"dtype":"F32","shape":[]}}', 4), /only dtype and shape/],
    ['nothing of a tensor', fileOf('{"a":{}}'), /only {}, expected dtype/],
  ],
  'unknown-dtype': [
    ['an unknown dtype', one('[1]', '[0,4]', 4, 'F31'), /dtype "F31", expected one of BOOL/],
    ['a dtype in small letters', one('[1]', '[0,4]', 4, 'f32'), /dtype "f32"/],
    ['a dtype that objects have', one('[1]', '[0,4]', 4, 'toString'), /dtype "toString"/],
    ['a dtype that is a number', fileOf('{"a":{"dtype":1}}'), /expected a dtype/],
  ],
  'bad-shape': [
    ['a negative size', one('[-1]', '[0,4]', 4), /an integer from 0/],
    ['a size of -0', one('[-0]', '[0,0]'), /an integer from 0/],
    ['a size of 1.0', one('[1.0]', '[0,4]', 4), /an integer from 0/],
    ['a size of 1e0', one('[1e0]', '[0,4]', 4), /an integer from 0/],
    ['a size of 01', one('[01]', '[0,4]', 4), /an integer from 0/],
    ['a size that is a string', one('["1"]', '[0,4]', 4), /an integer from 0/],
    ['a size of 2^53', one('[9007199254740992]', '[0,4]', 4), /an integer from 0/],
    ['a size of 2^64 - 2', one('[18446744073709551614]', '[0,4]', 4), /an integer from 0/],
    ['a size of 400 digits', one(`[${'9'.repeat(400)}]`, '[0,4]', 4), /an integer from 0/],
    ['a shape that is a number', one('1', '[0,4]', 4), /expected \[/],
    ['65 dimensions', one(`[${'1,'.repeat(64)}1]`, '[0,4]', 4), /at most 64 integers/],
    ['a shape in a shape', one('[[1]]', '[0,4]', 4), /an integer from 0/],
    ['a comma at the end of a shape', one('[1,]', '[0,4]', 4), /an integer from 0/],
  ],
  'bad-offsets': [
    ['no offset', one('[1]', '[]', 4), /got 0 data_offsets, expected two/],
    ['one offset', one('[1]', '[4]', 4), /got 1 data_offsets, expected two/],
    ['three offsets', one('[1]', '[0,4,8]', 4), /got 3 data_offsets/],
    ['an offset of 4.0', one('[1]', '[0,4.0]', 4), /an integer from 0/],
    ['a negative offset', one('[1]', '[-4,0]', 4), /an integer from 0/],
    ['an offset of 2^53', one('[1]', '[0,9007199254740992]', 4), /an integer from 0/],
    ['offsets that are null', one('[1]', 'null', 4), /expected \[/],
  ],
  'reversed-offsets': [['an end before its begin', one('[1]', '[4,0]', 4), /\[4, 0\], expected begin <= end/]],
  overflow: [
    ['too many elements to count', one('[4294967296,4294967296]', '[0,4]', 4), /a whole number of bytes/],
    ['too many bits to count', one('[9007199254740991]', '[0,4]', 4), /a whole number of bytes/],
    ['too many elements, times zero', one('[0,4294967296,4294967296]', '[0,0]'), /a whole number of bytes/],
  ],
  'partial-byte': [
    ['half a byte', one('[3]', '[0,1]', 1, 'F4'), /a whole number of bytes/],
    ['three quarters of a byte', one('[1]', '[0,1]', 1, 'F6_E2M3'), /a whole number of bytes/],
  ],
  'size-mismatch': [
    ['fewer bytes than its shape', one('[2]', '[0,4]', 4), /got 4 bytes, expected 8 for shape \[2\] of F32/],
    ['more bytes than its shape', one('[]', '[0,8]', 8), /got 8 bytes, expected 4/],
    ['no bytes for a scalar', one('[]', '[0,0]'), /got 0 bytes, expected 4/],
  ],
  hole: [
    ['a hole at the beginning', one('[1]', '[4,8]', 8), /tensor "a": got data from byte \d+ \(a hole before it\)/],
    ['a hole inside', two('[8,12]', 12), /tensor "b": .*a hole/],
    ['an empty tensor behind all', two('[12,12]', 4, '[0]'), /tensor "b": .*a hole/],
    ['offsets far outside the file', two('[4503599627370496,4503599627370500]', 4), /tensor "b": .*a hole/],
  ],
  overlap: [
    ['an overlap', two('[2,6]', 6), /tensor "b": .*an overlap/],
    ['an alias', two('[0,4]', 4), /tensor "b": .*an overlap/],
    ['a tensor inside another', inside(), /tensor "b": .*an overlap/],
    ['an empty tensor inside another', two('[2,2]', 4, '[0]'), /tensor "b": .*an overlap/],
  ],
  truncated: [
    ['a byte too few', one('[1]', '[0,4]', 3), /\(the file is truncated\)/],
    ['no data at all', one('[1]', '[0,4]', 0), /\(the file is truncated\)/],
    ['a tensor of a terabyte', one('[1099511627776]', '[0,1099511627776]', 4, 'U8'), /\(the file is truncated\)/],
  ],
  'trailing-bytes': [
    ['a byte too many', one('[1]', '[0,4]', 5), /\(trailing data\)/],
    ['data without tensors', fileOf('{}', 1), /\(trailing data\)/],
    ['another file behind', Buffer.concat([one('[1]', '[0,4]', 4), one('[1]', '[0,4]', 4)]), /\(trailing data\)/],
  ],
};
