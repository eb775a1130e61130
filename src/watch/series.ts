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
 * The values of a metric in the order of their steps. Every bucket holds equally many neighbouring values; when there are too many
 * buckets, neighbours are joined. What it holds depends on the values alone, never on how many were added at a time.
 */
export class Series {
  /** Values in a full bucket. */
  #width = 1;
  #buckets = 0;
  #step = new Float64Array(FEW);
  #sum = new Float64Array(FEW);
  #min = new Float64Array(FEW);
  #max = new Float64Array(FEW);
  #count = new Uint32Array(FEW);
  /** 1 where a value that is not finite follows, or lies within. */
  #broken = new Uint8Array(FEW);
  #first = Number.NaN;
  #last = Number.NaN;
  #values = 0;
  #total = 0;
  readonly #recent = new Float64Array(RECENT);
  #finite = 0;
  #marks: { first: Known; last: Known; low: Known; high: Known } | undefined;

  /** Adds the value at a step that is later than all before; one that is not finite interrupts the curve. */
  add(step: number, value: number): void {
    this.addFrom([value], 0, step);
  }

  /** Adds the value at a place of `values`: a number that is handed over would cost garbage. */
  addFrom(values: ArrayLike<number>, place: number, step: number): void {
    const value = values[place] as number;
    if (this.#values++ === 0) this.#first = step;
    this.#last = step;
    const open = this.#buckets - 1;
    if (!Number.isFinite(value)) {
      if (open >= 0) this.#broken[open] = 1;
      return;
    }
    this.#total += value;
    this.#recent[this.#finite++ % RECENT] = value;
    this.#mark(step, value);
    if (open >= 0 && this.#broken[open] === 0 && (this.#count[open] as number) < this.#width) {
      this.#put(open, step, value);
      return;
    }
    if (this.#buckets === this.#count.length) this.#makeRoom();
    const next = this.#buckets++;
    this.#step[next] = 0;
    this.#sum[next] = 0;
    this.#count[next] = 0;
    this.#broken[next] = 0;
    this.#min[next] = Number.POSITIVE_INFINITY;
    this.#max[next] = Number.NEGATIVE_INFINITY;
    this.#put(next, step, value);
  }

  /** The number of values, finite or not. */
  get count(): number {
    return this.#values;
  }

  /** The sum of the finite values. */
  get total(): number {
    return this.#total;
  }

  /** The last 40 finite values, or as many as there are. */
  get recent(): number[] {
    const count = Math.min(this.#finite, RECENT);
    return Array.from({ length: count }, (_, i) => this.#recent[(this.#finite - count + i) % RECENT] as number);
  }

  /** The points that a curve is told by; undefined if no value is finite. */
  get marks(): Marks | undefined {
    return this.#marks && structuredClone(this.#marks);
  }

  /** The buckets of the steps `from` to `to`, with a null where the curve is interrupted. */
  pieces(from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY): Piece[] {
    const found: Piece[] = [];
    for (let i = 0; i < this.#buckets; i++) {
      const count = this.#count[i] as number;
      const step = (this.#step[i] as number) / count;
      if (step < from || step > to) continue;
      const [min, max] = [this.#min[i] as number, this.#max[i] as number];
      found.push({ step, mean: (this.#sum[i] as number) / count, min, max, count });
      if (this.#broken[i] === 1) found.push({ step, mean: null });
    }
    return found;
  }

  /** The curve of the steps `from` to `to`, in at most `most` buckets. Its marks are those of all steps. */
  curve(most: number, from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY): Curve {
    const span = [Math.max(from, this.#first), Math.min(to, this.#last)] as const;
    const pieces = this.pieces(from, to);
    const count = pieces.reduce((sum, piece) => sum + (piece.mean === null ? 0 : piece.count), 0);
    return { span, count, parts: stretches(pieces, most), marks: this.marks };
  }

  /** The value at a step, or the mean of those around it that are joined; undefined if there is none. */
  valueAt(step: number): number | undefined {
    const found = this.pieces().findLast((piece) => piece.mean !== null && piece.step <= step);
    return found?.mean ?? undefined;
  }

  #put(i: number, step: number, value: number): void {
    this.#step[i] = (this.#step[i] as number) + step;
    this.#sum[i] = (this.#sum[i] as number) + value;
    this.#count[i] = (this.#count[i] as number) + 1;
    if (value < (this.#min[i] as number)) this.#min[i] = value;
    if (value > (this.#max[i] as number)) this.#max[i] = value;
  }

  #mark(step: number, value: number): void {
    const marks = this.#marks;
    if (marks === undefined) {
      const point = () => ({ step, value });
      this.#marks = { first: point(), last: point(), low: point(), high: point() };
      return;
    }
    set(marks.last, step, value);
    if (value < marks.low.value) set(marks.low, step, value);
    if (value > marks.high.value) set(marks.high, step, value);
  }

  /** Makes the arrays longer or, if they are as long as they may be, joins neighbouring buckets. */
  #makeRoom(): void {
    if (this.#buckets === MOST) {
      this.#join();
      return;
    }
    this.#step = longer(this.#step, Float64Array);
    this.#sum = longer(this.#sum, Float64Array);
    this.#min = longer(this.#min, Float64Array);
    this.#max = longer(this.#max, Float64Array);
    this.#count = longer(this.#count, Uint32Array);
    this.#broken = longer(this.#broken, Uint8Array);
  }

  #join(): void {
    for (let i = 0; i < MOST / 2; i++) {
      for (const sums of [this.#step, this.#sum, this.#count])
        sums[i] = (sums[2 * i] as number) + (sums[2 * i + 1] as number);
      this.#min[i] = Math.min(this.#min[2 * i] as number, this.#min[2 * i + 1] as number);
      this.#max[i] = Math.max(this.#max[2 * i] as number, this.#max[2 * i + 1] as number);
      this.#broken[i] = (this.#broken[2 * i] as number) | (this.#broken[2 * i + 1] as number);
    }
    this.#buckets = MOST / 2;
    this.#width *= 2;
  }
}

interface Known extends Point {
  value: number;
}

function set(point: Known, step: number, value: number): void {
  point.step = step;
  point.value = value;
}

function longer<Numbers extends Float64Array | Uint32Array | Uint8Array>(
  numbers: Numbers,
  Kind: new (length: number) => Numbers,
): Numbers {
  const copy = new Kind(2 * numbers.length);
  copy.set(numbers);
  return copy;
}
