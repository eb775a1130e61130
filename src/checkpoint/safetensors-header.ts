/**
 * The header of a safetensors file: JSON of one fixed form, so it is read by a scanner for just that form. JSON.parse would
 * keep the last of two equal keys, take 16.0 for an integer, round integers above 2^53 and give `__proto__` a meaning; and it
 * would make a tree of many times the size of the header. Here only names are kept, and where in the header each is described.
 */
import { isUtf8 } from 'node:buffer';
import { randomInt } from 'node:crypto';
import { printable, SafetensorsError, type SafetensorsReason } from '../errors.ts';
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
  /** Made anew whenever one is asked for. */
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
/** The fewest bytes of header that a tensor takes: `"":{"dtype":"U8","shape":[],"data_offsets":[0,0]},` */
const LEAST_BYTES = 50;

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
 * Reads the header `bytes` of the file `path` with `dataBytes` bytes of tensors after them. The bytes are kept.
 * @throws SafetensorsError for everything that is not exactly a valid header of exactly this file.
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, path: string): SafetensorsHeader {
  if (!isUtf8(bytes)) throw badFile('not-utf8', path, 'a header that is not UTF-8', 'a safetensors header');
  const scanner = new HeaderScanner(bytes, path);
  const names = new NameIndex(bytes.length, (place) => scanner.nameAt(place));
  const cover = new Cover(bytes.length);
  const metadata = scanner.header((place, name, { begin, end }) => {
    names.add(place, name);
    cover.add(begin, end);
  });
  const twice = names.close();
  if (twice !== undefined) throw scanner.duplicate(scanner.nameAt(twice), twice);
  const entries = new Entries(names, scanner);
  const fault = cover.fault(HEADER_BEGIN + bytes.length + dataBytes);
  if (fault !== undefined) throw uncovered(fault, entries, path);
  return { entries, metadata };
}

/** An error about one tensor of a file, or about all of it; `position` is the byte of the file. */
export function badFile(
  reason: SafetensorsReason,
  path: string,
  received: string,
  expected: string,
  { tensor, position }: { tensor?: string; position?: number } = {},
): SafetensorsError {
  const argument = tensor === undefined ? path : `${path}, tensor ${printable(tensor)}`;
  const fix = 'The file is damaged or not safetensors: get it again.';
  return new SafetensorsError({ argument, received, expected, fix, reason, position });
}

/** The most tensors that a header of so many bytes can have. Arrays of that length take memory only where they are filled. */
function mostTensors(headerBytes: number): number {
  return Math.ceil(headerBytes / LEAST_BYTES) + 1;
}

/** A prime below 2^26: with 27 bits for a place, a hash modulo this fits into the 53 bits of a number. */
const HASHES = 67_108_859;
const PLACES = 2 ** 27;

/**
 * Which names there are and where, in a quarter of the memory of a Map of them: numbers made of a hash and a place, sorted.
 * The names themselves stay in the header. The hash is a polynomial in a random number, so no file can aim at collisions.
 */
class NameIndex {
  private readonly base = randomInt(65_536, HASHES);
  private readonly nameAt: (place: number) => string;
  private places: Uint32Array;
  private sorted: Float64Array;
  private count = 0;

  constructor(headerBytes: number, nameAt: (place: number) => string) {
    this.nameAt = nameAt;
    this.places = new Uint32Array(mostTensors(headerBytes));
    this.sorted = new Float64Array(mostTensors(headerBytes));
  }

  add(place: number, name: string): void {
    this.places[this.count] = place;
    this.sorted[this.count++] = this.hash(name) * PLACES + place;
  }

  /** No more are added. The place of a name that was there before; undefined where all differ. */
  close(): number | undefined {
    this.places = this.places.slice(0, this.count);
    this.sorted = this.sorted.slice(0, this.count).sort();
    for (let i = 0; i < this.count; ) {
      const alike = [...this.from(i)];
      const names = alike.length > 1 ? alike.map(this.nameAt) : [];
      const twice = names.findIndex((name, j) => names.indexOf(name) < j);
      if (twice >= 0) return alike[twice];
      i += alike.length;
    }
    return undefined;
  }

  /** The place of every name, in the order of the header. */
  all(): Uint32Array {
    return this.places;
  }

  find(name: string): number | undefined {
    const least = this.hash(name) * PLACES;
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.sorted[middle] as number) < least) low = middle + 1;
      else high = middle;
    }
    if (!((this.sorted[low] as number) < least + PLACES)) return undefined;
    for (const place of this.from(low)) if (this.nameAt(place) === name) return place;
    return undefined;
  }

  /** The places of the names with the same hash as the one at `i` of the sorted. */
  private *from(i: number): Generator<number> {
    const hash = Math.floor((this.sorted[i] as number) / PLACES);
    for (; Math.floor((this.sorted[i] as number) / PLACES) === hash; i++) yield (this.sorted[i] as number) % PLACES;
  }

  private hash(name: string): number {
    let hash = name.length % HASHES;
    for (let i = 0; i < name.length; i++) {
      const next = hash * this.base + name.charCodeAt(i); // below 2^52, where the quotient is exact enough to be cut
      hash = next - Math.floor(next / HASHES) * HASHES;
    }
    return hash;
  }
}

/** The tensors by name; each is read from the header whenever it is asked for. */
class Entries implements ReadonlyMap<string, SafetensorsEntry> {
  private readonly names: NameIndex;
  private readonly scanner: HeaderScanner;

  constructor(names: NameIndex, scanner: HeaderScanner) {
    this.names = names;
    this.scanner = scanner;
  }

  get size(): number {
    return this.names.all().length;
  }

  has(name: string): boolean {
    return this.names.find(name) !== undefined;
  }

  get(name: string): SafetensorsEntry | undefined {
    const place = this.names.find(name);
    return place === undefined ? undefined : this.scanner.tensorAt(place);
  }

  *keys(): MapIterator<string> {
    for (const place of this.names.all()) yield this.scanner.nameAt(place);
  }

  *values(): MapIterator<SafetensorsEntry> {
    for (const place of this.names.all()) yield this.scanner.tensorAt(place);
  }

  *entries(): MapIterator<[string, SafetensorsEntry]> {
    for (const place of this.names.all()) yield [this.scanner.nameAt(place), this.scanner.tensorAt(place)];
  }

  [Symbol.iterator](): MapIterator<[string, SafetensorsEntry]> {
    return this.entries();
  }

  forEach(visit: (entry: SafetensorsEntry, name: string, map: this) => void): void {
    for (const [name, entry] of this) visit(entry, name, this);
  }
}

/** A byte of the file at which the tensors do not join, or at which they and the file do not end together. */
interface CoverFault {
  reason: 'hole' | 'overlap' | 'truncated' | 'trailing-bytes';
  /** Where the tensors before it end. */
  end: number;
  /** Where the next one begins, or the file ends. */
  next: number;
}

/**
 * Whether every byte of the data belongs to exactly one tensor: a hole could hide another file, an overlap shares memory.
 * Begins and ends are sorted apart, as plain numbers: where nothing overlaps and nothing is left out, the next begin is the
 * last end. Tensors of no bytes lie between others.
 */
class Cover {
  private readonly from: number;
  private readonly begins: Float64Array;
  private readonly ends: Float64Array;
  private readonly empties: Float64Array;
  private full = 0;
  private empty = 0;

  constructor(headerBytes: number) {
    const most = mostTensors(headerBytes);
    this.from = HEADER_BEGIN + headerBytes;
    this.begins = new Float64Array(most);
    this.ends = new Float64Array(most);
    this.empties = new Float64Array(most);
  }

  add(begin: number, end: number): void {
    if (begin === end) this.empties[this.empty++] = begin;
    else {
      this.begins[this.full] = begin;
      this.ends[this.full++] = end;
    }
  }

  /** The first fault in a file of `fileBytes`; undefined where all is well. */
  fault(fileBytes: number): CoverFault | undefined {
    const begins = this.begins.subarray(0, this.full).sort();
    const joints = this.ends.subarray(0, this.full).sort();
    let end = this.from;
    for (let i = 0; i < this.full; i++) {
      const next = begins[i] as number;
      if (next !== end) return { reason: next > end ? 'hole' : 'overlap', end, next };
      end = joints[i] as number;
    }
    return this.strayEmpty(joints) ?? (end === fileBytes ? undefined : misfit(end, fileBytes));
  }

  /** A tensor of no bytes that lies inside another, or behind all. */
  private strayEmpty(joints: Float64Array): CoverFault | undefined {
    let end = this.from;
    let joint = 0;
    for (const next of this.empties.subarray(0, this.empty).sort()) {
      while (end < next && joint < joints.length) end = joints[joint++] as number;
      if (next !== end) return { reason: next > end ? 'hole' : 'overlap', end, next };
    }
    return undefined;
  }
}

function misfit(end: number, fileBytes: number): CoverFault {
  return { reason: end > fileBytes ? 'truncated' : 'trailing-bytes', end, next: fileBytes };
}

function uncovered({ reason, end, next }: CoverFault, entries: Entries, path: string): SafetensorsError {
  if (reason === 'truncated' || reason === 'trailing-bytes') {
    const what = reason === 'truncated' ? 'the file is cut short' : 'something else follows';
    return badFile(reason, path, `${next} bytes (${what})`, `the ${end} that the header lists`, {
      position: Math.min(end, next),
    });
  }
  let tensor: string | undefined;
  for (const [name, { begin }] of entries) if (begin === next) tensor = name;
  const what = reason === 'hole' ? 'a hole before it' : 'an overlap with the tensor before it';
  return badFile(reason, path, `data from byte ${next} (${what})`, `data from byte ${end}`, { tensor, position: next });
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

  /** Checks all of the header, gives the metadata, and shows each tensor with the place of its name to `visit`. */
  header(visit: (place: number, name: string, entry: SafetensorsEntry) => void): Map<string, string> {
    let metadata: Map<string, string> | undefined;
    this.object('not-an-object', (name, place) => {
      if (name !== METADATA_KEY) visit(place, name, this.tensor(name));
      else if (metadata === undefined) metadata = this.metadata();
      else throw this.duplicate(name, place);
    });
    this.peek();
    if (this.at < this.bytes.length) this.fail('bad-json', 'the end of the header');
    return metadata ?? new Map();
  }

  /** The name of the tensor at a place that `header` gave. */
  nameAt(place: number): string {
    this.at = place;
    return this.string();
  }

  /** The tensor of that name. */
  tensorAt(place: number): SafetensorsEntry {
    const name = this.nameAt(place);
    this.peek();
    this.at++;
    return this.tensor(name);
  }

  /** The error about a key, at a place where it stands again. */
  duplicate(key: string, place: number): SafetensorsError {
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
