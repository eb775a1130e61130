/**
 * The header of a safetensors file: JSON of one fixed form, so it is read by a scanner for just that form. JSON.parse would
 * keep the last of two equal keys, take 16.0 for an integer, round integers above 2^53 and give `__proto__` a meaning; and it
 * would make a tree of many times the size of the header.
 */
import { isUtf8 } from 'node:buffer';
import { printable, SafetensorsError, type SafetensorsReason } from '../../errors.ts';
import { isWellFormed } from '../json.ts';

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
/** Where the header begins in the file, after the 8 bytes of its length. */
const HEADER_BEGIN = 8;
/** No library computes with more; the format has no limit. */
export const MAX_DIMENSIONS = 64;
/** The most bytes that a name or another key takes; the format has no limit here either. */
export const MAX_KEY_BYTES = 65_536;
/** The most tensors of a file: ten times those of the largest models' parts. It bounds what a header takes in memory. */
export const MAX_TENSORS = 100_000;

/** Bytes that a tensor takes, or why there is no such number: not a safe integer, or not a whole one. */
export function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[]): number | 'overflow' | 'partial-byte' {
  let bits: number = DTYPE_BITS[dtype];
  // A zero comes last: a shape that overflows without it is not valid with it.
  for (const size of [...shape].sort((a, b) => b - a)) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) return 'overflow';
  }
  return bits % 8 === 0 ? bits / 8 : 'partial-byte';
}

/**
 * Reads the header `bytes` of the file `path` with `dataBytes` bytes of tensors after them.
 * @throws SafetensorsError for everything that is not exactly a valid header of exactly this file.
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, path: string): SafetensorsHeader {
  if (!isUtf8(bytes)) throw badFile('not-utf8', path, 'a header that is not UTF-8', 'a safetensors header');
  const header = new HeaderScanner(bytes, path).header();
  checkCover(header.entries, HEADER_BEGIN + bytes.length, dataBytes, path);
  return header;
}

/**
 * Every byte of the data belongs to exactly one tensor: a hole could hide another file, an overlap shares memory. Tensors of no
 * bytes lie between others.
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
  if (last > size) throw refuse('truncated', 'the file is cut short');
  if (last < size) throw refuse('trailing-bytes', 'something else follows');
}

const DAMAGED = 'The file is damaged or not safetensors: get it again.';

/** An error about one tensor of a file, or about all of it; `position` is the byte of the file. */
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

/** What a tensor's description says. */
type Found = { dtype?: SafetensorsDtype; shape?: number[]; data_offsets?: number[] };

/** Walks the bytes, which are valid UTF-8; never deeper than the form of a header. */
class HeaderScanner {
  private readonly bytes: Buffer;
  private readonly path: string;
  private at = 0;

  constructor(bytes: Uint8Array, path: string) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.path = path;
  }

  /** All of the header; whether the tensors cover the file is not checked. */
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
    const received = `the key ${printable(key)} twice in its header`;
    return badFile('duplicate-key', this.path, received, 'every key once', { position: HEADER_BEGIN + place });
  }

  private metadata(): Map<string, string> {
    const metadata = new Map<string, string>();
    this.object('bad-metadata', (key, place) => {
      if (metadata.has(key)) throw this.duplicate(key, place);
      if (this.peek() !== QUOTE) this.fail('bad-metadata', 'a string, as all metadata are');
      metadata.set(key, this.string());
    });
    return metadata;
  }

  private tensor(tensor: string): SafetensorsEntry {
    const position = this.position();
    const found: Found = {};
    this.object('bad-tensor', (key, place) => {
      if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') {
        const expected = 'dtype, shape and data_offsets only';
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
    if (begin > end) throw refuse('reversed-offsets', `data_offsets [${begin}, ${end}]`, 'begin not after end');
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

  /** Calls `member` at the value of each, with the key and its place. `reason` is what is wrong where there is no object. */
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

  /** The string that begins here, if it is written with at most `most` bytes. */
  private string(most = MAX_HEADER_BYTES): string {
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
    if (this.at - begin > most) {
      this.at = begin;
      this.fail('bad-string', `at most ${most} bytes`);
    }
    const inside = escapes ? 0 : 1;
    const text = this.bytes.toString('utf8', begin + inside, this.at - inside);
    const value = escapes ? unescaped(text) : text;
    if (value !== undefined) return value;
    this.at = begin;
    this.fail('bad-string', 'a valid string');
  }

  /** After an element: true where another follows, false where `close` ends the list. */
  private separator(close: number): boolean {
    const next = this.peek();
    if (next !== COMMA && next !== close) this.fail('bad-json', `, or ${String.fromCharCode(close)}`);
    this.at++;
    return next === COMMA;
  }

  /** The byte after this one; NaN at the end, which no comparison holds for. */
  private next(): number {
    return this.bytes[++this.at] ?? Number.NaN;
  }

  /** The next byte that is not white space: blank, tab, line feed, carriage return. NaN at the end. */
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
    const received = `${rest === '' ? 'its end' : printable(rest)} at byte ${this.position()}`;
    throw badFile(reason, this.path, received, expected, { position: this.position() });
  }
}

const [QUOTE, BACKSLASH, COMMA, COLON, SPACE, ZERO] = [0x22, 0x5c, 0x2c, 0x3a, 0x20, 0x30];
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d];
/** The point, e and E: what follows an integer that is written as a fraction, or with an exponent. */
const FRACTION = [0x2e, 0x65, 0x45];

/** What a JSON string stands for; undefined for a bad escape and for half of a surrogate pair. */
function unescaped(literal: string): string | undefined {
  try {
    const value = JSON.parse(literal) as string;
    return isWellFormed(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
