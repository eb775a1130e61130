/** The metadata of a GGUF file: keys with values of thirteen types. */
import { GgufError, printable } from '../../errors.ts';
import { badFile, type Cursor, MAX_HEADER_BYTES } from './cursor.ts';

/** Maximum length of a key or a tensor's name in bytes, as the format says of keys. */
export const MAX_KEY_BYTES = 65_535;
/** Maximum number of keys and texts in a header; the texts of lists count one each. */
export const MAX_VALUES = 4_000_000;
/** The type of a list: the only one that has elements. */
const LIST = 9;
const TEXT = 8;
const BOOLEAN = 7;

/** A list of numbers. Booleans are bytes, 0 or 1. */
export type GgufNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;
/** A value: integers of 64 bits are bigints where a number would not be exact. */
export type GgufValue = string | number | bigint | boolean | readonly string[] | GgufNumbers;

interface NumberType {
  readonly bytes: number;
  readonly one: (bytes: Buffer) => number | bigint;
  readonly list: new (buffer: ArrayBuffer) => GgufNumbers;
}
/** The types of numbers by the number that stands for each. */
const NUMBER_TYPES: Readonly<Record<number, NumberType>> = {
  0: { bytes: 1, one: (bytes) => bytes.readUInt8(), list: Uint8Array },
  1: { bytes: 1, one: (bytes) => bytes.readInt8(), list: Int8Array },
  2: { bytes: 2, one: (bytes) => bytes.readUInt16LE(), list: Uint16Array },
  3: { bytes: 2, one: (bytes) => bytes.readInt16LE(), list: Int16Array },
  4: { bytes: 4, one: (bytes) => bytes.readUInt32LE(), list: Uint32Array },
  5: { bytes: 4, one: (bytes) => bytes.readInt32LE(), list: Int32Array },
  6: { bytes: 4, one: (bytes) => bytes.readFloatLE(), list: Float32Array },
  7: { bytes: 1, one: (bytes) => bytes.readUInt8(), list: Uint8Array },
  10: { bytes: 8, one: (bytes) => exact(bytes.readBigUInt64LE()), list: BigUint64Array },
  11: { bytes: 8, one: (bytes) => exact(bytes.readBigInt64LE()), list: BigInt64Array },
  12: { bytes: 8, one: (bytes) => bytes.readDoubleLE(), list: Float64Array },
};

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Reads `count` keys and their values. @throws GgufError naming the place. */
export function readMetadata(cursor: Cursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  const values = new ValueReader(cursor);
  for (let i = 0; i < count; i++) {
    const { position } = cursor;
    const key = values.key();
    if (metadata.has(key))
      throw cursor.bad('duplicate-key', `the key ${printable(key)} twice`, 'unique keys', position);
    metadata.set(key, values.value(cursor.uint32()));
  }
  return metadata;
}

class ValueReader {
  private readonly cursor: Cursor;
  private left = MAX_VALUES;

  constructor(cursor: Cursor) {
    this.cursor = cursor;
  }

  key(): string {
    this.take(1);
    return this.cursor.text(MAX_KEY_BYTES);
  }

  value(type: number): GgufValue {
    const { cursor } = this;
    if (type === TEXT) return cursor.text(MAX_HEADER_BYTES);
    if (type === LIST) return this.list(cursor.uint32());
    const { position } = cursor;
    const { bytes, one } = this.numberType(type);
    const value = one(cursor.bytes(bytes));
    return type === BOOLEAN ? this.boolean(value as number, position) : value;
  }

  private list(type: number): readonly string[] | GgufNumbers {
    const { cursor } = this;
    const { position } = cursor;
    if (type === LIST) throw cursor.bad('nested-array', 'a list of lists', 'a list of texts or numbers', position);
    if (type === TEXT) return this.texts();
    const { bytes, list } = this.numberType(type);
    const count = cursor.count(bytes, 'numbers');
    // A copy: the window is not aligned, and the next read overwrites it.
    const values = new list(new Uint8Array(cursor.bytes(count * bytes)).buffer);
    if (type === BOOLEAN) for (const value of values as Uint8Array) this.boolean(value, position);
    return values;
  }

  private texts(): string[] {
    const count = this.cursor.count(8, 'texts');
    this.take(count);
    const texts = new Array<string>(count);
    for (let i = 0; i < count; i++) texts[i] = this.cursor.text(MAX_HEADER_BYTES);
    return texts;
  }

  private boolean(value: number, position: number): boolean {
    if (value <= 1) return value === 1;
    throw this.cursor.bad('bad-boolean', `${value} as true or false`, '0 or 1', position);
  }

  private numberType(type: number): NumberType {
    const found = NUMBER_TYPES[type];
    if (found !== undefined) return found;
    throw this.cursor.bad('unknown-value-type', `a value of type ${type}`, 'one of 0 to 12', this.cursor.position - 4);
  }

  private take(values: number): void {
    this.left -= values;
    if (this.left >= 0) return;
    const received = `more than ${MAX_VALUES} keys and texts`;
    throw this.cursor.bad('too-many-values', received, 'fewer', this.cursor.position);
  }
}

/** Typed access to the metadata of one file. Every error names the file and the key. */
export class GgufMetadata {
  readonly path: string;
  readonly values: ReadonlyMap<string, GgufValue>;

  constructor(path: string, values: ReadonlyMap<string, GgufValue>) {
    this.path = path;
    this.values = values;
  }

  /** The value of `key`, which must be of the kind that `words` describes; undefined if there is none. */
  private find<T extends GgufValue>(key: string, words: string, is: (value: GgufValue) => value is T): T | undefined {
    const value = this.values.get(key);
    if (value === undefined || is(value)) return value;
    throw badFile('bad-metadata', `${this.path}, ${key}`, printable(value), words);
  }

  /** @throws GgufError if `key` is missing. */
  private need<T>(key: string, words: string, value: T | undefined): T {
    if (value !== undefined) return value;
    throw badFile('bad-metadata', `${this.path}, ${key}`, 'nothing', words);
  }

  findText(key: string): string | undefined {
    return this.find(key, 'a text', (value) => typeof value === 'string');
  }

  text(key: string): string {
    return this.need(key, 'a text', this.findText(key));
  }

  findNumber(key: string): number | undefined {
    return this.find(key, 'a finite number', (value): value is number => Number.isFinite(value));
  }

  findFlag(key: string): boolean | undefined {
    return this.find(key, 'true or false', (value) => typeof value === 'boolean');
  }

  /** An integer from 0 to 2^31 - 1. */
  findCount(key: string): number | undefined {
    return this.find(key, COUNT_WORDS, isCount);
  }

  count(key: string): number {
    return this.need(key, COUNT_WORDS, this.findCount(key));
  }

  findTexts(key: string): readonly string[] | undefined {
    return this.find(key, 'a list of texts', (value): value is readonly string[] => Array.isArray(value));
  }

  texts(key: string): readonly string[] {
    return this.need(key, 'a list of texts', this.findTexts(key));
  }

  /** A list of numbers that are not 64-bit integers. */
  findNumbers(key: string): readonly number[] | undefined {
    const isNumbers = (value: GgufValue): value is GgufNumbers => ArrayBuffer.isView(value);
    const found = this.find(key, 'a list of numbers', isNumbers);
    return found === undefined ? undefined : Array.from(found as Iterable<number | bigint>, Number);
  }
}

const COUNT_WORDS = 'an integer from 0 to 2147483647';

function isCount(value: GgufValue): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;
}

/** The error for a model that is sound but of a kind that is not read. */
export function unsupported(argument: string, received: string, expected: string, fix: string): GgufError {
  return new GgufError({ argument, received, expected, fix, reason: 'unsupported' });
}
