/** Curves of metrics over steps: thousands of points in as many as can be seen. */

/** A value at a step; null where it was not a finite number. */
export interface Point {
  step: number;
  value: number | null;
}

/** A piece of a curve: the mean of the values of some steps, with the least and the greatest of them. */
export interface Bucket {
  /** The mean of the steps. */
  step: number;
  mean: number;
  min: number;
  max: number;
  count: number;
}

/** A bucket, or null at a step whose value was not finite. */
export type Piece = Bucket | { step: number; mean: null };

/** Points of a curve that are told in words. */
export interface Marks {
  first: Point;
  last: Point;
  low: Point;
  high: Point;
}

/** What a drawing shows of a metric. */
export interface Curve {
  /** The first and the last step that has the metric. */
  span: readonly [first: number, last: number];
  /** The number of steps that have it. */
  count: number;
  parts: readonly Stretch[];
  /** Undefined if no value is finite. */
  marks: Marks | undefined;
}

/** A curve without gaps. */
export type Stretch = readonly Bucket[];

/** The curve of `points`, in the order of their steps, in at most `most` buckets. */
export function curveOf(points: readonly Point[], most: number): Curve {
  const pieces = points.map(({ step, value }): Piece => {
    return value === null ? { step, mean: null } : { step, mean: value, min: value, max: value, count: 1 };
  });
  const span = [points[0]?.step ?? 0, points.at(-1)?.step ?? 0] as const;
  return { span, count: points.length, parts: stretches(pieces, most), marks: marksOf(points) };
}

function marksOf(points: readonly Point[]): Marks | undefined {
  const values = points.filter((point): point is { step: number; value: number } => point.value !== null);
  const [first, last] = [values[0], values.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const low = values.reduce((least, point) => (point.value < least.value ? point : least));
  const high = values.reduce((most, point) => (point.value > most.value ? point : most));
  return { first, last, low, high };
}

/**
 * `pieces`, in the order of their steps, as stretches of at most `most` buckets together. A value that is not finite ends a
 * stretch, and so does a hole more than three times as wide as is usual between pieces.
 */
export function stretches(pieces: readonly Piece[], most: number): Stretch[] {
  const usual = median(pieces.slice(1).map(({ step }, i) => step - (pieces[i] as Piece).step));
  const first = pieces[0]?.step ?? 0;
  const width = ((pieces.at(-1)?.step ?? 0) - first + 1) / most;
  const bucketed = pieces.length > most;
  const all: Bucket[][] = [];
  let before: { step: number; place: number } | undefined;
  for (const piece of pieces) {
    const { step } = piece;
    if (piece.mean === null) {
      before = undefined;
      continue;
    }
    const place = bucketed ? Math.floor((step - first) / width) : step;
    if (before === undefined || step - before.step > 3 * usual) all.push([]);
    const stretch = all.at(-1) as Bucket[];
    const open = stretch.at(-1);
    if (open !== undefined && before?.place === place) add(open, piece);
    else stretch.push({ ...piece });
    before = { step, place };
  }
  return all;
}

function add(bucket: Bucket, { step, mean, min, max, count }: Bucket): void {
  bucket.count += count;
  bucket.step += ((step - bucket.step) * count) / bucket.count;
  bucket.mean += ((mean - bucket.mean) * count) / bucket.count;
  bucket.min = Math.min(bucket.min, min);
  bucket.max = Math.max(bucket.max, max);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 1;
}
