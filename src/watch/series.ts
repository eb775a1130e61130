/** A metric over the steps of a run of any length, in as much memory as its curve needs. */
import { type Curve, type Marks, type Piece, type Point, stretches } from '../report/curve.ts';

/**
 * The most buckets: of a million steps, each is then the mean of 64. They are far more than a drawing has room for, so that a part of
 * a run can be looked at more closely.
 */
const MOST = 16_384;
const FEW = 256;
/** The last values that are kept as they are. */
export const RECENT = 40;

/**
 * Where the numbers of a bucket are: sums of its steps and values, the extremes, the count, and 1 if the curve is interrupted in it or
 * behind it.
 */
const STEPS = 0;
const SUM = 1;
const MIN = 2;
const MAX = 3;
const COUNT = 4;
const BROKEN = 5;
const WIDTH = 6;
/** Where the numbers of all values are. A point is a step and the value there. */
const FIRST = 0;
const LAST = 2;
const LOW = 4;
const HIGH = 6;
const SPAN_FIRST = 8;
const SPAN_LAST = 9;
const TOTAL = 10;

/**
 * The values of a metric in the order of their steps. Every bucket holds equally many neighbouring values; when there are too many
 * buckets, neighbours are joined. What it holds depends on the values alone, never on how many were added at a time. All numbers are
 * in arrays, as fields that are numbers would cost garbage whenever they change.
 */
export class Series {
  /** Values in a full bucket. */
  #full = 1;
  /** The number of buckets, and of values, and of those that are finite. */
  #length = 0;
  #values = 0;
  #finite = 0;
  #buckets = new Float64Array(WIDTH * FEW);
  readonly #all = new Float64Array(11);
  readonly #recent = new Float64Array(RECENT);

  /** Adds the value at a step that is later than all before; one that is not finite interrupts the curve. */
  add(step: number, value: number): void {
    this.addFrom(Float64Array.of(step, value), 1);
  }

  /** Adds the value at a place of `row`, which begins with the step: numbers that are handed over would cost garbage. */
  addFrom(row: Float64Array, place: number): void {
    const step = row[0] as number;
    const value = row[place] as number;
    const all = this.#all;
    if (this.#values++ === 0) all[SPAN_FIRST] = step;
    all[SPAN_LAST] = step;
    const open = WIDTH * (this.#length - 1);
    if (!Number.isFinite(value)) {
      if (open >= 0) this.#buckets[open + BROKEN] = 1;
      return;
    }
    const first = this.#finite === 0;
    this.#recent[this.#finite++ % RECENT] = value;
    all[TOTAL] = (all[TOTAL] as number) + value;
    all[LAST] = step;
    all[LAST + 1] = value;
    if (first) all.set([step, value], FIRST);
    if (first || value < (all[LOW + 1] as number)) {
      all[LOW] = step;
      all[LOW + 1] = value;
    }
    if (first || value > (all[HIGH + 1] as number)) {
      all[HIGH] = step;
      all[HIGH + 1] = value;
    }

    const buckets = this.#buckets;
    if (open >= 0 && buckets[open + BROKEN] === 0 && (buckets[open + COUNT] as number) < this.#full) {
      buckets[open + STEPS] = (buckets[open + STEPS] as number) + step;
      buckets[open + SUM] = (buckets[open + SUM] as number) + value;
      buckets[open + COUNT] = (buckets[open + COUNT] as number) + 1;
      if (value < (buckets[open + MIN] as number)) buckets[open + MIN] = value;
      if (value > (buckets[open + MAX] as number)) buckets[open + MAX] = value;
    } else this.#begin(row, place);
  }

  /** The number of values, finite or not. */
  get count(): number {
    return this.#values;
  }

  /** The sum of the finite values. */
  get total(): number {
    return this.#all[TOTAL] as number;
  }

  /** The last 40 finite values, or as many as there are. */
  get recent(): number[] {
    const count = Math.min(this.#finite, RECENT);
    return Array.from({ length: count }, (_, i) => this.#recent[(this.#finite - count + i) % RECENT] as number);
  }

  /** The points that a curve is told by; undefined if no value is finite. */
  get marks(): Marks | undefined {
    if (this.#finite === 0) return undefined;
    const point = (place: number): Point => ({
      step: this.#all[place] as number,
      value: this.#all[place + 1] as number,
    });
    return { first: point(FIRST), last: point(LAST), low: point(LOW), high: point(HIGH) };
  }

  /** The buckets of the steps `from` to `to`, with a null where the curve is interrupted. */
  pieces(from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY): Piece[] {
    const found: Piece[] = [];
    for (let i = 0; i < this.#length; i++) {
      const at = (part: number) => this.#buckets[WIDTH * i + part] as number;
      const count = at(COUNT);
      const step = at(STEPS) / count;
      if (step < from || step > to) continue;
      found.push({ step, mean: at(SUM) / count, min: at(MIN), max: at(MAX), count });
      if (at(BROKEN) === 1) found.push({ step, mean: null });
    }
    return found;
  }

  /** The curve of the steps `from` to `to`, in at most `most` buckets. Its marks are those of all steps. */
  curve(most: number, from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY): Curve {
    const [first, last] = [this.#all[SPAN_FIRST] as number, this.#all[SPAN_LAST] as number];
    const pieces = this.pieces(from, to);
    const count = pieces.reduce((sum, piece) => sum + (piece.mean === null ? 0 : piece.count), 0);
    const span = [Math.max(from, first), Math.min(to, last)] as const;
    return { span, count, parts: stretches(pieces, most), marks: this.marks };
  }

  /** The value at a step, or the mean of those around it that are joined; undefined if there is none. */
  valueAt(step: number): number | undefined {
    const found = this.pieces().findLast((piece) => piece.mean !== null && piece.step <= step);
    return found?.mean ?? undefined;
  }

  /** Adds a bucket. Where there is no room, the array gets longer or, if it is as long as it may be, neighbours are joined. */
  #begin(row: Float64Array, place: number): void {
    if (this.#length === MOST) this.#join();
    else if (WIDTH * this.#length === this.#buckets.length) {
      const longer = new Float64Array(2 * this.#buckets.length);
      longer.set(this.#buckets);
      this.#buckets = longer;
    }
    const buckets = this.#buckets;
    const next = WIDTH * this.#length++;
    buckets[next + STEPS] = row[0] as number;
    buckets[next + SUM] = row[place] as number;
    buckets[next + MIN] = row[place] as number;
    buckets[next + MAX] = row[place] as number;
    buckets[next + COUNT] = 1;
    buckets[next + BROKEN] = 0;
  }

  #join(): void {
    const buckets = this.#buckets;
    for (let to = 0, from = 0; from < WIDTH * MOST; to += WIDTH, from += 2 * WIDTH) {
      const [a, b] = [from, from + WIDTH];
      buckets[to + STEPS] = (buckets[a + STEPS] as number) + (buckets[b + STEPS] as number);
      buckets[to + SUM] = (buckets[a + SUM] as number) + (buckets[b + SUM] as number);
      buckets[to + COUNT] = (buckets[a + COUNT] as number) + (buckets[b + COUNT] as number);
      buckets[to + MIN] = Math.min(buckets[a + MIN] as number, buckets[b + MIN] as number);
      buckets[to + MAX] = Math.max(buckets[a + MAX] as number, buckets[b + MAX] as number);
      buckets[to + BROKEN] = Math.max(buckets[a + BROKEN] as number, buckets[b + BROKEN] as number);
    }
    this.#length = MOST / 2;
    this.#full *= 2;
  }
}
