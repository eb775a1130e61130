/** Curves of metrics over steps: thousands of points in as many as can be seen. */

/** A value at a step; null where it was not a finite number. */
export interface Point {
  step: number;
  value: number | null;
}

/** A piece of a curve: the mean of the values of some steps, with the least and the greatest of them. */
export interface Bucket {
  step: number;
  mean: number;
  min: number;
  max: number;
  count: number;
}

/** A curve without gaps. */
export type Stretch = readonly Bucket[];

/**
 * `points`, in the order of their steps, as stretches of at most `most` buckets together. A value that is not finite ends a
 * stretch, and so does a hole more than three times as wide as is usual between points.
 */
export function stretches(points: readonly Point[], most: number): Stretch[] {
  const usual = median(points.slice(1).map(({ step }, i) => step - (points[i] as Point).step));
  const first = points[0]?.step ?? 0;
  const width = ((points.at(-1)?.step ?? 0) - first + 1) / most;
  const bucketed = points.length > most;
  const all: Bucket[][] = [];
  let before: { step: number; place: number } | undefined;
  for (const { step, value } of points) {
    if (value === null) {
      before = undefined;
      continue;
    }
    const place = bucketed ? Math.floor((step - first) / width) : step;
    if (before === undefined || step - before.step > 3 * usual) all.push([]);
    const stretch = all.at(-1) as Bucket[];
    const open = stretch.at(-1);
    if (open !== undefined && before?.place === place) add(open, step, value);
    else stretch.push({ step, mean: value, min: value, max: value, count: 1 });
    before = { step, place };
  }
  return all;
}

function add(bucket: Bucket, step: number, value: number): void {
  bucket.count++;
  bucket.step += (step - bucket.step) / bucket.count;
  bucket.mean += (value - bucket.mean) / bucket.count;
  bucket.min = Math.min(bucket.min, value);
  bucket.max = Math.max(bucket.max, value);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 1;
}
