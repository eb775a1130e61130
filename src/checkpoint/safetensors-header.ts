/**
 * The header of a safetensors file: JSON of one fixed form, so it is read by a scanner for just that form. JSON.parse would
 * keep the last of two equal keys, take 16.0 for an integer, round integers above 2^53 and give `__proto__` a meaning.
 */
import { FileError, printable } from '../errors.ts';

/** Bits of an element, in the order of alignment in which the reference implementation sorts tensors. */
export const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;
/** An element type that the format knows. */
export type SafetensorsDtype = keyof typeof DTYPE_BITS;

/** Where a tensor lies; `begin` and `end` count from the start of the file. */
export interface SafetensorsEntry {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}
export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** The most bytes that a header may have. */
export const MAX_HEADER_BYTES = 100_000_000;
/** The name under which the header keeps metadata; no tensor can have it. */
export const METADATA_KEY = '__metadata__';

/** Bytes that a tensor takes, or undefined where they are not a whole and safely countable number. */
export function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[]): number | undefined {
  let bits: number = DTYPE_BITS[dtype];
  // A zero comes last: a shape that overflows without it is not valid with it.
  for (const size of [...shape].sort((a, b) => b - a)) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) return undefined;
  }
  return bits % 8 === 0 ? bits / 8 : undefined;
}

/**
 * Reads the header `bytes` of the file `path` with `dataBytes` bytes of tensors after them.
 * @throws FileError for everything that is not exactly a valid header of exactly this file.
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, path: string): SafetensorsHeader {
  const header = new HeaderScanner(decodeUtf8(bytes, path), path).header();
  const dataBegin = 8 + bytes.length;
  const entries = new Map<string, SafetensorsEntry>();
  for (const [name, { dtype, shape, offsets }] of header.tensors) {
    checkSize(name, { dtype, shape, offsets }, path);
    entries.set(name, { dtype, shape, begin: dataBegin + offsets[0], end: dataBegin + offsets[1] });
  }
  checkCover(header.tensors, dataBytes, path);
  return { entries, metadata: header.metadata };
}

/** An error about one tensor of a file, or about all of it. */
export function badFile(path: string, received: string, expected: string, tensor?: string): FileError {
  const argument = tensor === undefined ? path : `${path}, tensor ${printable(tensor)}`;
  return new FileError({ argument, received, expected, fix: 'The file is damaged or not safetensors: get it again.' });
}

interface RawTensor {
  dtype: SafetensorsDtype;
  shape: number[];
  offsets: [begin: number, end: number];
}

function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw badFile(path, 'a header that is not valid UTF-8', 'a safetensors header');
  }
}

function checkSize(name: string, { dtype, shape, offsets: [begin, end] }: RawTensor, path: string): void {
  if (begin > end) throw badFile(path, `data_offsets [${begin}, ${end}]`, 'begin not after end', name);
  const bytes = tensorBytes(dtype, shape);
  if (bytes === undefined) {
    throw badFile(path, `shape ${printable(shape)} of ${dtype}`, 'a whole number of bytes below 2^50', name);
  }
  if (end - begin !== bytes) {
    throw badFile(path, `${end - begin} bytes`, `${bytes} for shape ${printable(shape)} of ${dtype}`, name);
  }
}

/** Every byte of the data belongs to exactly one tensor: a hole could hide another file, an overlap shares memory. */
function checkCover(tensors: Map<string, RawTensor>, dataBytes: number, path: string): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.offsets[0] - b.offsets[0] || a.offsets[1] - b.offsets[1]);
  let covered = 0;
  for (const [name, { offsets }] of sorted) {
    if (offsets[0] !== covered) {
      const what = offsets[0] > covered ? 'a hole before it' : 'an overlap with the tensor before it';
      throw badFile(path, `data from ${offsets[0]} (${what})`, `data from ${covered}`, name);
    }
    covered = offsets[1];
  }
  if (covered !== dataBytes) {
    const what = covered > dataBytes ? 'the file is cut short' : 'something else follows';
    throw badFile(path, `${dataBytes} bytes of data (${what})`, `the ${covered} that the header lists`);
  }
}

/** Walks the text once; never deeper than the form of a header. */
class HeaderScanner {
  private at = 0;
  private readonly text: string;
  private readonly path: string;

  constructor(text: string, path: string) {
    this.text = text;
    this.path = path;
  }

  header(): { tensors: Map<string, RawTensor>; metadata: Map<string, string> } {
    const tensors = new Map<string, RawTensor>();
    let metadata: Map<string, string> | undefined;
    this.object((name) => {
      if (tensors.has(name) || (name === METADATA_KEY && metadata !== undefined)) this.duplicate(name);
      if (name === METADATA_KEY) metadata = this.metadata();
      else tensors.set(name, this.tensor(name));
    });
    this.space();
    if (this.at < this.text.length) this.fail('the end of the header');
    return { tensors, metadata: metadata ?? new Map() };
  }

  private metadata(): Map<string, string> {
    const metadata = new Map<string, string>();
    this.object((key) => {
      if (metadata.has(key)) this.duplicate(key);
      metadata.set(key, this.string('a string, as all metadata are'));
    });
    return metadata;
  }

  private tensor(name: string): RawTensor {
    const found: { dtype?: SafetensorsDtype; shape?: number[]; data_offsets?: number[] } = {};
    this.object((key) => {
      if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') {
        throw badFile(this.path, `the key ${printable(key)}`, 'dtype, shape and data_offsets only', name);
      }
      if (found[key] !== undefined) this.duplicate(key);
      if (key === 'dtype') found.dtype = this.dtype(name);
      else found[key] = this.integers();
    });
    const { dtype, shape, data_offsets: offsets } = found;
    if (dtype === undefined || shape === undefined || offsets === undefined) {
      throw badFile(
        this.path,
        `only ${Object.keys(found).join(' and ') || '{}'}`,
        'dtype, shape and data_offsets',
        name,
      );
    }
    if (offsets.length !== 2) throw badFile(this.path, `${offsets.length} data_offsets`, 'two', name);
    return { dtype, shape, offsets: offsets as [number, number] };
  }

  private dtype(name: string): SafetensorsDtype {
    const dtype = this.string('a dtype');
    if (!Object.hasOwn(DTYPE_BITS, dtype)) {
      throw badFile(this.path, `dtype ${printable(dtype)}`, `one of ${Object.keys(DTYPE_BITS).join(' ')}`, name);
    }
    return dtype as SafetensorsDtype;
  }

  private integers(): number[] {
    const integers: number[] = [];
    this.take('[');
    if (this.peek() === ']') {
      this.at++;
      return integers;
    }
    do integers.push(this.integer());
    while (this.separator(']'));
    return integers;
  }

  private integer(): number {
    this.space();
    const begin = this.at;
    while (this.isDigit()) this.at++;
    const digits = this.text.slice(begin, this.at);
    const value = Number(digits);
    const canonical = digits === '0' || (digits !== '' && !digits.startsWith('0'));
    if (!canonical || !Number.isSafeInteger(value) || /[.eE]/.test(this.text.charAt(this.at))) {
      this.at = begin;
      this.fail('an integer from 0 to 2^53 - 1, in plain digits');
    }
    return value;
  }

  private isDigit(): boolean {
    const code = this.text.charCodeAt(this.at);
    return code >= 48 && code <= 57;
  }

  private object(member: (key: string) => void): void {
    this.take('{');
    if (this.peek() === '}') {
      this.at++;
      return;
    }
    do {
      const key = this.string('a key');
      this.take(':');
      member(key);
    } while (this.separator('}'));
  }

  private string(expected: string): string {
    if (this.peek() !== '"') this.fail(expected);
    let end = this.at + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === '\\' ? 2 : 1;
    const value = parseString(this.text.slice(this.at, end + 1));
    if (value === undefined) this.fail('a valid string');
    this.at = end + 1;
    return value;
  }

  /** After an element: true where another follows, false where `close` ends the list. */
  private separator(close: string): boolean {
    const next = this.peek();
    if (next !== ',' && next !== close) this.fail(`, or ${close}`);
    this.at++;
    return next === ',';
  }

  private take(character: string): void {
    if (this.peek() !== character) this.fail(character);
    this.at++;
  }

  private peek(): string {
    this.space();
    return this.text.charAt(this.at);
  }

  private space(): void {
    while (isSpace(this.text.charCodeAt(this.at))) this.at++;
  }

  private duplicate(key: string): never {
    throw badFile(this.path, `the key ${printable(key)} twice in its header`, 'every key once');
  }

  private fail(expected: string): never {
    const rest = this.text.slice(this.at, this.at + 24);
    throw badFile(
      this.path,
      `${rest === '' ? 'its end' : printable(rest)} at character ${this.at} of the header`,
      expected,
    );
  }
}

/** What JSON calls white space: blank, tab, line feed, carriage return. */
function isSpace(code: number): boolean {
  return code === 32 || code === 9 || code === 10 || code === 13;
}

/** True for a string that UTF-8 can hold: no half of a surrogate pair. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

/** The string that a JSON literal stands for; undefined for a bad literal. */
function parseString(literal: string): string | undefined {
  try {
    const value = JSON.parse(literal) as string;
    return isWellFormed(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
