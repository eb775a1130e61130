/**
 * The header of a GGUF file: metadata, then the name, shape, format and position of every tensor.
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import { printable } from '../../errors.ts';
import { bytesOf, NUMBER_FORMATS, type NumberFormat } from '../number-formats.ts';
import { badFile, type Cursor } from './cursor.ts';
import { type GgufValue, MAX_KEY_BYTES, readMetadata } from './metadata.ts';

/** Maximum number of tensors, as in a safetensors file. */
const MAX_TENSORS = 100_000;
const MAX_DIMENSIONS = 4;
/** Bytes of the shortest key with its value, and of the shortest description of a tensor. */
const LEAST_BYTES = { key: 13, tensor: 32 };
const DEFAULT_ALIGNMENT = 32;

/** The formats of tensors by the number that stands for each. */
const FORMATS: Readonly<Record<number, NumberFormat>> = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  28: 'F64',
  30: 'BF16',
};
/** Others that files in use have. */
const OTHER_FORMATS: Readonly<Record<number, string>> = {
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};

/** The position of a tensor; `begin` and `end` count from the start of the file. The last size of `shape` is contiguous. */
export interface GgufEntry {
  readonly format: NumberFormat;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly entries: ReadonlyMap<string, GgufEntry>;
}

/**
 * Reads the header of a file of `size` bytes.
 * @throws GgufError for anything but a valid header of exactly this file.
 */
export function readHeader(cursor: Cursor, size: number): GgufHeader {
  checkBegin(cursor);
  const { position } = cursor;
  const tensors = cursor.count(LEAST_BYTES.tensor, 'tensors');
  if (tensors > MAX_TENSORS) throw cursor.bad('too-many-tensors', `${tensors}`, `at most ${MAX_TENSORS}`, position);
  const metadata = readMetadata(cursor, cursor.count(LEAST_BYTES.key, 'keys'));
  const alignment = alignmentOf(metadata, cursor.path);
  const found = readTensors(cursor, tensors);
  const data = aligned(cursor.position, alignment);
  const entries = new Map<string, GgufEntry>();
  for (const [name, { format, shape, offset, bytes }] of found) {
    const begin = data + offset;
    if (offset % alignment !== 0) {
      throw badTensor('misaligned', cursor, name, `offset ${offset}`, `a multiple of ${alignment}`);
    }
    entries.set(name, { format, shape, begin, end: begin + bytes });
  }
  checkCover(cursor, entries, { data, size, alignment });
  return { metadata, entries };
}

function aligned(position: number, alignment: number): number {
  return Math.ceil(position / alignment) * alignment;
}

function checkBegin(cursor: Cursor): void {
  const magic = cursor.bytes(4).toString('latin1');
  if (magic !== 'GGUF') {
    const fix = magic.startsWith('PK') ? 'It is a zip archive: unpack it, or convert it with palm import.' : undefined;
    throw badFile('bad-magic', cursor.path, `a file that begins with ${printable(magic)}`, '"GGUF"', {
      position: 0,
      ...(fix === undefined ? {} : { fix }),
    });
  }
  const version = cursor.uint32();
  if (version === 2 || version === 3) return;
  const place = { position: 4 };
  if ((version & 0xffff) === 0) {
    const fix = 'Convert it to little-endian with gguf_convert_endian.py of llama.cpp.';
    throw badFile('big-endian', cursor.path, 'a big-endian file', 'a little-endian one', { ...place, fix });
  }
  const fix = 'Convert the model again with a current llama.cpp.';
  throw badFile('bad-version', cursor.path, `version ${version}`, 'version 2 or 3', { ...place, fix });
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, path: string): number {
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  const isPower = Number.isInteger(alignment) && Number.isInteger(Math.log2(alignment as number));
  if (isPower && (alignment as number) <= 2 ** 20) return alignment as number;
  const argument = `${path}, general.alignment`;
  throw badFile('bad-alignment', argument, printable(alignment), 'a power of 2, at most 1048576');
}

interface Found {
  format: NumberFormat;
  shape: number[];
  bytes: number;
  offset: number;
}

function readTensors(cursor: Cursor, count: number): Map<string, Found> {
  const found = new Map<string, Found>();
  for (let i = 0; i < count; i++) {
    const { position } = cursor;
    const name = cursor.text(MAX_KEY_BYTES);
    if (found.has(name)) {
      throw cursor.bad('duplicate-tensor', `the tensor ${printable(name)} twice`, 'unique names', position);
    }
    found.set(name, readTensor(cursor, name));
  }
  return found;
}

function readTensor(cursor: Cursor, name: string): Found {
  const dimensions = cursor.uint32();
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
    throw badTensor('bad-shape', cursor, name, `${dimensions} dimensions`, `1 to ${MAX_DIMENSIONS}`);
  }
  const sizes = Array.from({ length: dimensions }, () => cursor.bytes(8).readBigUInt64LE());
  const count = sizes.reduce((product, size) => product * size);
  if (count === 0n) throw badTensor('bad-shape', cursor, name, `sizes ${sizes.join(' × ')}`, 'sizes of at least 1');
  if (count > 2n ** 48n)
    throw badTensor('overflow', cursor, name, `sizes ${sizes.join(' × ')}`, 'at most 2^48 numbers');
  const format = formatOf(cursor, name, cursor.uint32());
  const width = Number(sizes[0]);
  const { numbers } = NUMBER_FORMATS[format];
  if (width % numbers !== 0) {
    throw badTensor('partial-block', cursor, name, `rows of ${width} numbers`, `blocks of ${numbers} for ${format}`);
  }
  const offset = cursor.bytes(8).readBigUInt64LE();
  if (offset > 2n ** 52n) throw badTensor('overflow', cursor, name, `offset ${offset}`, 'at most 2^52');
  const shape = sizes.map(Number).reverse();
  return { format, shape, bytes: bytesOf(format, Number(count)), offset: Number(offset) };
}

function formatOf(cursor: Cursor, name: string, type: number): NumberFormat {
  const format = FORMATS[type];
  if (format !== undefined) return format;
  const received = OTHER_FORMATS[type] ?? `type ${type}`;
  throw badFile(
    'unknown-dtype',
    `${cursor.path}, tensor ${printable(name)}`,
    `numbers of ${received}`,
    `one of ${Object.values(FORMATS).join(' ')}`,
    { position: cursor.position - 4, fix: 'Take a file of the same model in another format, such as Q8_0 or Q4_K_M.' },
  );
}

function badTensor(
  reason: 'bad-shape' | 'overflow' | 'partial-block' | 'misaligned' | 'hole' | 'overlap' | 'truncated',
  { path, position }: Cursor,
  name: string,
  received: string,
  expected: string,
) {
  return badFile(reason, `${path}, tensor ${printable(name)}`, received, expected, { position });
}

/** Checks that the tensors follow one another with no more between them than the alignment asks for, within the file. */
function checkCover(
  cursor: Cursor,
  entries: GgufHeader['entries'],
  { data, size, alignment }: { data: number; size: number; alignment: number },
): void {
  let last = data;
  for (const [name, { begin, end }] of [...entries].sort(([, a], [, b]) => a.begin - b.begin)) {
    const reason = begin > last ? 'hole' : begin < last ? 'overlap' : undefined;
    if (reason !== undefined)
      throw badTensor(reason, cursor, name, `data from byte ${begin}`, `data from byte ${last}`);
    if (end > size) {
      throw badTensor('truncated', cursor, name, `${size} bytes of file`, `data up to byte ${end}`);
    }
    last = aligned(end, alignment);
  }
}
