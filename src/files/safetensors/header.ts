/**
 * The header of a safetensors file. It is JSON of one fixed form, so it is read by a scanner for just that form.
 * JSON.parse would keep the last of two equal keys, accept 16.0 as an integer, round integers above 2^53, treat
 * `__proto__` specially, and build a tree many times the size of the header.
 */
import { isUtf8 } from 'node:buffer';
import { printable, SafetensorsError, type SafetensorsReason } from '../../errors.ts';
import { isWellFormed } from '../json.ts';

/** Bits per element, in the order of alignment by which the reference implementation sorts tensors. */
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
/** An element type of the format. */
export type SafetensorsDtype = keyof typeof DTYPE_BITS;

/** The position of a tensor; `begin` and `end` count from the start of the file. */
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

/** Maximum size of a header in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;
/** The key of the metadata in the header; no tensor can have this name. */
export const METADATA_KEY = '__metadata__';
/** The position of the header in the file, after its 8-byte length. */
const HEADER_BEGIN = 8;
/** No library supports more dimensions; the format itself has no limit. */
export const MAX_DIMENSIONS = 64;
/** Maximum length of a name or other key in bytes; the format itself has no limit. */
export const MAX_KEY_BYTES = 65_536;
/**
 * Maximum number of tensors in a file, ten times that of the largest models' shards. It bounds the memory a header
 * takes.
 */
export const MAX_TENSORS = 100_000;

/** The size of a tensor in bytes, or why it has none: the number is not a safe integer or not whole. */
export function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[]): number | 'overflow' | 'partial-byte' {
  let bits: number = DTYPE_BITS[dtype];
  // Zeros come last: a shape that overflows without them is invalid even with them.
  for (const size of [...shape].sort((a, b) => b - a)) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) return 'overflow';
  }
  return bits % 8 === 0 ? bits / 8 : 'partial-byte';
}

/**
 * Parses the header `bytes` of the file `path`, which has `dataBytes` bytes of tensors after it.
 * @throws SafetensorsError for anything but a valid header of exactly this file.
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, path: string): SafetensorsHeader {
  if (!isUtf8(bytes)) throw badFile('not-utf8', path, 'a header that is not UTF-8', 'a safetensors header');
  const header = new HeaderScanner(bytes, path).header();
  checkCover(header.entries, HEADER_BEGIN + bytes.length, dataBytes, path);
  return header;
}

/**
 * Checks that every byte of the data belongs to exactly one tensor: a hole could hide another file, an overlap would
 * share memory. Empty tensors lie between others.
 */
function checkCover(entries: SafetensorsHeader['entries'], from: number, dataBytes: number, path: string): void {
  const sorted = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let last = from;
  for (const [tensor, { begin, end }] of sorted) {
    const place = { tensor, position: begin };
    const refuse = (reason: 'hole' | 'overlap', what: string) =>
      badFile(reason, path, `data from byte ${begin} (${what})`, `data from byte ${last}`, place);
    if (begin > last) throw refuse('hole', 'a hole before it');
    if (begin < last) throw refuse('overlap', 'an overlap with the tensor before it');
    last = end;
  }
  const size = from + dataBytes;
  const refuse = (reason: 'truncated' | 'trailing-bytes', what: string) =>
    badFile(reason, path, `${size} bytes (${what})`, `the ${last} that the header lists`, {
      position: Math.min(last, size),
    });
  if (last > size) throw refuse('truncated', 'the file is truncated');
  if (last < size) throw refuse('trailing-bytes', 'trailing data');
}

const DAMAGED = 'The file is damaged or not safetensors: copy it again.';

/** The error for one tensor of a file, or for the whole file; `position` is the byte offset. */
export function badFile(
  reason: SafetensorsReason,
  path: string,
  received: string,
  expected: string,
  { tensor, position, fix = DAMAGED }: { tensor?: string; position?: number; fix?: string } = {},
): SafetensorsError {
  const argument = tensor === undefined ? path : `${path}, tensor ${printable(tensor)}`;
  return new SafetensorsError({ argument, received, expected, fix, reason, position });
}

/** The description of a tensor. */
type Found = { dtype?: SafetensorsDtype; shape?: number[]; data_offsets?: number[] };

/** Scans the bytes, which are valid UTF-8; never recurses deeper than the form of a header. */
class HeaderScanner {
  private readonly bytes: Buffer;
  private readonly path: string;
  private at = 0;

  constructor(bytes: Uint8Array, path: string) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.path = path;
  }

  /** Parses the whole header, without checking that the tensors cover the file. */
  header(): SafetensorsHeader {
    const entries = new Map<string, SafetensorsEntry>();
    let metadata: Map<string, string> | undefined;
    this.object('not-an-object', (name, place) => {
      if (entries.has(name) || (name === METADATA_KEY && metadata !== undefined)) throw this.duplicate(name, place);
      if (name === METADATA_KEY) metadata = this.metadata();
      else if (entries.size === MAX_TENSORS) this.fail('too-many-tensors', `at most ${MAX_TENSORS} tensors`);
      else entries.set(name, this.tensor(name));
    });
    this.peek();
    if (this.at < this.bytes.length) this.fail('bad-json', 'the end of the header');
    return { entries, metadata: metadata ?? new Map() };
  }

  private duplicate(key: string, place: number): SafetensorsError {
    const received = `a duplicate key ${printable(key)} in the header`;
    return badFile('duplicate-key', this.path, received, 'unique keys', { position: HEADER_BEGIN + place });
  }

  private metadata(): Map<string, string> {
    const metadata = new Map<string, string>();
    this.object('bad-metadata', (key, place) => {
      if (metadata.has(key)) throw this.duplicate(key, place);
      if (this.peek() !== QUOTE) this.fail('bad-metadata', 'a string, as all metadata values are');
      metadata.set(key, this.string());
    });
    return metadata;
  }

  private tensor(tensor: string): SafetensorsEntry {
    const position = this.position();
    const found: Found = {};
    this.object('bad-tensor', (key, place) => {
      if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') {
        const expected = 'only dtype, shape and data_offsets';
        throw badFile('unknown-key', this.path, `the key ${printable(key)}`, expected, { tensor, position });
      }
      if (found[key] !== undefined) throw this.duplicate(key, place);
      if (key === 'dtype') found.dtype = this.dtype(tensor);
      else found[key] = this.integers(key === 'shape' ? 'bad-shape' : 'bad-offsets');
    });
    return this.entry(found, tensor, position);
  }

  private entry(found: Found, tensor: string, position: number): SafetensorsEntry {
    const { dtype, shape, data_offsets: offsets } = found;
    const refuse = (reason: SafetensorsReason, received: string, expected: string) =>
      badFile(reason, this.path, received, expected, { tensor, position });
    if (dtype === undefined || shape === undefined || offsets === undefined) {
      const keys = Object.keys(found).join(' and ') || '{}';
      throw refuse('missing-key', `only ${keys}`, 'dtype, shape and data_offsets');
    }
    const [begin = 0, end = 0] = offsets;
    if (offsets.length !== 2) throw refuse('bad-offsets', `${offsets.length} data_offsets`, 'two');
    if (begin > end) throw refuse('reversed-offsets', `data_offsets [${begin}, ${end}]`, 'begin <= end');
    const bytes = tensorBytes(dtype, shape);
    if (end - begin !== bytes) {
      const kind = `shape ${printable(shape)} of ${dtype}`;
      if (typeof bytes === 'string') throw refuse(bytes, kind, 'a whole number of bytes below 2^50');
      throw refuse('size-mismatch', `${end - begin} bytes`, `${bytes} for ${kind}`);
    }
    const data = HEADER_BEGIN + this.bytes.length;
    return { dtype, shape, begin: data + begin, end: data + end };
  }

  private dtype(tensor: string): SafetensorsDtype {
    const position = this.position();
    if (this.peek() !== QUOTE) this.fail('unknown-dtype', 'a dtype');
    const dtype = this.string();
    if (Object.hasOwn(DTYPE_BITS, dtype)) return dtype as SafetensorsDtype;
    const expected = `one of ${Object.keys(DTYPE_BITS).join(' ')}`;
    throw badFile('unknown-dtype', this.path, `dtype ${printable(dtype)}`, expected, { tensor, position });
  }

  private integers(reason: SafetensorsReason): number[] {
    const integers: number[] = [];
    if (this.peek() !== OPEN_BRACKET) this.fail(reason, '[');
    this.at++;
    if (this.peek() === CLOSE_BRACKET) this.at++;
    else
      do {
        if (integers.push(this.integer(reason)) > MAX_DIMENSIONS)
          this.fail(reason, `at most ${MAX_DIMENSIONS} integers`);
      } while (this.separator(CLOSE_BRACKET));
    return integers;
  }

  private integer(reason: SafetensorsReason): number {
    const first = this.peek();
    const begin = this.at;
    let value = 0;
    for (let digit = first - ZERO; digit >= 0 && digit <= 9; digit = this.next() - ZERO) value = 10 * value + digit;
    const digits = this.at - begin;
    const canonical = digits === 1 || (digits > 1 && first !== ZERO);
    if (canonical && Number.isSafeInteger(value) && !FRACTION.includes(this.bytes[this.at] ?? 0)) return value;
    this.at = begin;
    this.fail(reason, 'an integer from 0 to 2^53 - 1, in plain digits');
  }

  /** Calls `member` at the value of each key, with the key and its position. `reason` is used if there is no object. */
  private object(reason: SafetensorsReason, member: (key: string, place: number) => void): void {
    if (this.peek() !== OPEN_BRACE) this.fail(reason, '{');
    this.at++;
    if (this.peek() === CLOSE_BRACE) {
      this.at++;
      return;
    }
    do {
      if (this.peek() !== QUOTE) this.fail('bad-json', 'a key');
      const place = this.at;
      const key = this.string(MAX_KEY_BYTES);
      if (this.peek() !== COLON) this.fail('bad-json', ':');
      this.at++;
      member(key, place);
    } while (this.separator(CLOSE_BRACE));
  }

  /** Reads the string that begins here, of at most `max` bytes. */
  private string(max = MAX_HEADER_BYTES): string {
    const begin = this.at;
    let escapes = false;
    for (let code = this.next(); code !== QUOTE; code = this.next()) {
      if (code === BACKSLASH) {
        escapes = true;
        this.at++;
      }
      if (this.at >= this.bytes.length || code < SPACE) {
        this.at = begin;
        this.fail('bad-string', 'a valid string');
      }
    }
    this.at++;
    if (this.at - begin > max) {
      this.at = begin;
      this.fail('bad-string', `at most ${max} bytes`);
    }
    const inside = escapes ? 0 : 1;
    const text = this.bytes.toString('utf8', begin + inside, this.at - inside);
    const value = escapes ? unescaped(text) : text;
    if (value !== undefined) return value;
    this.at = begin;
    this.fail('bad-string', 'a valid string');
  }

  /** After an element: true if another follows, false if `close` ends the list. */
  private separator(close: number): boolean {
    const next = this.peek();
    if (next !== COMMA && next !== close) this.fail('bad-json', `, or ${String.fromCharCode(close)}`);
    this.at++;
    return next === COMMA;
  }

  /** Advances to the next byte; NaN at the end, so that every comparison fails. */
  private next(): number {
    return this.bytes[++this.at] ?? Number.NaN;
  }

  /** The next non-blank byte, skipping spaces, tabs, line feeds and carriage returns; NaN at the end. */
  private peek(): number {
    let code = this.bytes[this.at];
    while (code === SPACE || code === 10 || code === 13 || code === 9) code = this.bytes[++this.at];
    return code ?? Number.NaN;
  }

  private position(): number {
    return HEADER_BEGIN + this.at;
  }

  private fail(reason: SafetensorsReason, expected: string): never {
    const rest = this.bytes.toString('utf8', this.at, this.at + 24);
    const received = `${rest === '' ? 'the end' : printable(rest)} at byte ${this.position()}`;
    throw badFile(reason, this.path, received, expected, { position: this.position() });
  }
}

const [QUOTE, BACKSLASH, COMMA, COLON, SPACE, ZERO] = [0x22, 0x5c, 0x2c, 0x3a, 0x20, 0x30];
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d];
/** The point, e and E, which mark a number written with a fraction or an exponent. */
const FRACTION = [0x2e, 0x65, 0x45];

/** Decodes a JSON string; undefined for a bad escape or a lone surrogate. */
function unescaped(literal: string): string | undefined {
  try {
    const value = JSON.parse(literal) as string;
    return isWellFormed(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
