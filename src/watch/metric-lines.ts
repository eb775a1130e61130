/**
 * Lines of metrics.jsonl and timing.jsonl into series. A long run has gigabytes of them, so they are read as bytes: a line has nearly
 * always the names of the line before, in the same order, and numbers in JSON. Whatever is not so goes through JSON.parse.
 */
import { Series } from './series.ts';

/** A metric, and the one that followed it in the last line. */
interface Column {
  name: string;
  /** The name in a line: `"loss":`. */
  key: Uint8Array;
  /** The same, four bytes at a time. */
  words: Int32Array;
  series: Series;
  next: Column | undefined;
}

const STEP = Buffer.from('{"step":');
const NULL = Buffer.from('null');
const [COMMA, CLOSE, QUOTE, MINUS, PLUS, POINT, ZERO, NINE, SMALL_E, LARGE_E] = Buffer.from(',}"-+.09eE') as never as [
  ...[number, number, number, number, number, number, number, number, number, number],
];
const COLON = 58;
const NEWLINE = 10;
/** Lines with more metrics go through JSON.parse. */
const MOST_METRICS = 1000;
/** Powers of ten that doubles hold exactly. */
const EXACT = Float64Array.from({ length: 23 }, (_, power) => Number(`1e${power}`));

/** The series of a file of metrics. */
export class MetricLines {
  #columns = new Map<string, Column>();
  #first: Column | undefined;
  #bytes: Uint8Array = new Uint8Array();
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Where in the bytes the next token is. */
  #at = 0;
  #steps = 0;
  #damaged = 0;
  /** The step and the values of a line: in an array, because numbers that functions return cost garbage. */
  readonly #values = new Float64Array(MOST_METRICS + 1);
  #found: Column[] = [];

  /** The last step. */
  get steps(): number {
    return this.#steps;
  }

  /** The number of lines that are no JSON objects with a step. */
  get damaged(): number {
    return this.#damaged;
  }

  /** The series by the names of their metrics, in the order in which they appeared. */
  get series(): ReadonlyMap<string, Series> {
    const known = [...this.#columns].filter(([, { series }]) => series.count > 0);
    return new Map(known.map(([name, { series }]) => [name, series]));
  }

  /** Forgets all lines. */
  reset(): void {
    this.#columns = new Map();
    this.#first = undefined;
    this.#steps = 0;
    this.#damaged = 0;
  }

  /** Adds the lines in `bytes`, each of which ends in a newline. */
  add(bytes: Buffer): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let begin = 0; begin < bytes.length; ) {
      const end = this.#line(begin);
      begin = end ?? this.#other(begin);
    }
  }

  /** Reads a line as it usually is, and gives the place behind it; undefined if it is another. */
  #line(begin: number): number | undefined {
    const bytes = this.#bytes;
    if (!this.#matches(STEP, begin)) return undefined;
    this.#at = begin + STEP.length;
    if (!this.#number(0)) return undefined;
    let count = 0;
    let before: Column | undefined;
    while (bytes[this.#at] === COMMA && count < MOST_METRICS) {
      const at = this.#at + 1;
      let column: Column | undefined = before === undefined ? this.#first : before.next;
      if (column === undefined || !this.#hasKey(column, at)) column = this.#named(at);
      if (column === undefined) return undefined;
      if (before === undefined) this.#first = column;
      else before.next = column;
      this.#at = at + column.key.length;
      this.#found[count++] = column;
      if (!this.#number(count) && !this.#null(count)) return undefined;
      before = column;
    }
    if (bytes[this.#at] !== CLOSE || bytes[this.#at + 1] !== NEWLINE) return undefined;
    if (!this.#take(this.#values[0] as number)) return undefined;
    for (let i = 0; i < count; i++) (this.#found[i] as Column).series.addFrom(this.#values, i + 1);
    return this.#at + 2;
  }

  /** Reads a null at `#at`, a number that was not finite. */
  #null(place: number): boolean {
    if (!this.#matches(NULL, this.#at)) return false;
    this.#at += NULL.length;
    this.#values[place] = Number.NaN;
    return true;
  }

  #matches(expected: Uint8Array, at: number): boolean {
    const bytes = this.#bytes;
    for (let i = 0; i < expected.length; i++) if (bytes[at + i] !== expected[i]) return false;
    return true;
  }

  #hasKey({ key: { length }, words }: Column, at: number): boolean {
    if (at + length > this.#bytes.length) return false;
    const view = this.#view;
    const last = words.length - 1;
    for (let i = 0; i < last; i++) if (view.getInt32(at + 4 * i, true) !== words[i]) return false;
    return view.getInt32(at + length - 4, true) === words[last];
  }

  /** The column whose key begins at a place; undefined if there is none, or a name that needs more than its bytes. */
  #named(at: number): Column | undefined {
    if (this.#bytes[at] !== QUOTE) return undefined;
    const end = this.#bytes.indexOf(QUOTE as number, at + 1);
    const name = Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + at + 1, end - at - 1).toString();
    return end < 0 || this.#bytes[end + 1] !== COLON || name.includes('\\') ? undefined : this.#column(name);
  }

  #column(name: string): Column {
    const known = this.#columns.get(name);
    if (known !== undefined) return known;
    const key = Buffer.from(`${JSON.stringify(name)}:`);
    const column = { name, key, words: wordsOf(key), series: new Series(), next: undefined };
    this.#columns.set(name, column);
    return column;
  }

  /**
   * Reads the number at `#at` into a place of the values; false if there is none. Numbers of up to 15 digits are exact, and others
   * right to two units in the last place of a double.
   */
  #number(place: number): boolean {
    const bytes = this.#bytes;
    const negative = bytes[this.#at] === MINUS;
    let at = negative ? this.#at + 1 : this.#at;
    const begin = at;
    let digits = 0;
    let power = 0;
    let sign = bytes[at] as number;
    for (; sign >= ZERO && sign <= NINE; sign = bytes[++at] as number) digits = digits * 10 + (sign - ZERO);
    if (at === begin) return false;
    if (sign === POINT) {
      const point = ++at;
      const view = this.#view;
      for (const last = bytes.length - 4; at <= last; at += 4) {
        const four = fourDigits(view.getInt32(at, true));
        if (four < 0) break;
        digits = digits * 1e4 + four;
      }
      for (sign = bytes[at] as number; sign >= ZERO && sign <= NINE; sign = bytes[++at] as number)
        digits = digits * 10 + (sign - ZERO);
      power = point - at;
    }
    if (sign === SMALL_E || sign === LARGE_E) {
      sign = bytes[++at] as number;
      const down = sign === MINUS;
      if (down || sign === PLUS) sign = bytes[++at] as number;
      let exponent = 0;
      for (; sign >= ZERO && sign <= NINE; sign = bytes[++at] as number) exponent = exponent * 10 + (sign - ZERO);
      power += down ? -exponent : exponent;
    }
    this.#at = at;
    const size = scaled(digits, power);
    this.#values[place] = negative ? -size : size;
    return true;
  }

  /** Reads a line of any kind, and gives the place behind it. */
  #other(begin: number): number {
    const end = this.#bytes.indexOf(NEWLINE, begin);
    const text = Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + begin, end - begin).toString();
    const row = objectOf(text);
    if (row === undefined || typeof row.step !== 'number' || !this.#take(row.step)) this.#damaged++;
    else {
      for (const [name, value] of Object.entries(row)) {
        if (name === 'step') continue;
        this.#column(name).series.add(row.step, typeof value === 'number' ? value : Number.NaN);
      }
    }
    return end + 1;
  }

  /** Goes to a step; false if it is none, or not later than the one before. */
  #take(step: number): boolean {
    if (!Number.isSafeInteger(step) || step <= this.#steps) return false;
    this.#steps = step;
    return true;
  }
}

/** `digits` × 10^`power`, rounded once where the power of ten is exact. */
function scaled(digits: number, power: number): number {
  if (power === 0) return digits;
  if (Math.abs(power) > 22) return Number(`${digits}e${power}`);
  return power < 0 ? digits / (EXACT[-power] as number) : digits * (EXACT[power] as number);
}

/** The number of four digits, the first in the lowest byte; negative if they are not all digits. */
function fourDigits(word: number): number {
  if ((word & 0xf0f0f0f0) !== 0x30303030 || ((word + 0x06060606) & 0xf0f0f0f0) !== 0x30303030) return -1;
  const pairs = ((word & 0x0f0f0f0f) * 10 + ((word >> 8) & 0x000f0f0f)) & 0x00ff00ff;
  return (pairs & 0xff) * 100 + (pairs >> 16);
}

/** Bytes as words of four, of which the last one overlaps the one before if they are not a multiple of four. */
function wordsOf(key: Buffer): Int32Array {
  const count = Math.ceil(key.length / 4);
  return Int32Array.from({ length: count }, (_, i) => key.readInt32LE(Math.min(4 * i, key.length - 4)));
}

/** The JSON object in a text; undefined if it has none. */
export function objectOf(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
