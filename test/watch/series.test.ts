/** Curves in little memory: what is kept of many values. */
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/data/random.ts';
import { curveOf, type Point } from '../../src/report/curve.ts';
import { Series } from '../../src/watch/series.ts';

function seriesOf(points: readonly Point[]): Series {
  const series = new Series();
  for (const { step, value } of points) series.add(step, value ?? Number.NaN);
  return series;
}

function pointsOf(count: number, every = 1, nulls = 0): Point[] {
  const random = new Random(count);
  return Array.from({ length: count }, (_, i) => {
    const value = Math.sin(i / 50) + random.next();
    return { step: (i + 1) * every, value: nulls > 0 && random.int(nulls) === 0 ? null : value };
  });
}

describe('a series', () => {
  it.each([
    [1, 1, 0],
    [300, 10, 0],
    [5000, 1, 50],
    [16_384, 2, 0],
  ])('of %d values is the curve that a report draws of them', (count, every, nulls) => {
    const points = pointsOf(count, every, nulls);
    const found = seriesOf(points).curve(160);
    const expected = curveOf(points, 160);
    expect(found.span).toEqual(expected.span);
    expect(found.marks).toEqual(expected.marks);
    expect(found.parts.map((part) => part.map(({ step, min, max, count: held }) => [step, min, max, held]))).toEqual(
      expected.parts.map((part) => part.map(({ step, min, max, count: held }) => [step, min, max, held])),
    );
    for (const [i, part] of found.parts.entries())
      for (const [j, { mean }] of part.entries())
        expect(mean).toBeCloseTo(expected.parts[i]?.[j]?.mean ?? Number.NaN, 10);
  });

  it('of very many values keeps their number, their mean, and the least and the greatest of every part', () => {
    const points = pointsOf(200_000) as { step: number; value: number }[];
    const series = seriesOf(points);
    const pieces = series.pieces() as { step: number; mean: number; min: number; max: number; count: number }[];
    expect(pieces.length).toBeLessThanOrEqual(16_384);
    expect(pieces.length).toBeGreaterThan(8192);
    let from = 0;
    for (const { step, mean, min, max, count } of pieces) {
      const own = points.slice(from, from + count);
      const values = own.map(({ value }) => value);
      expect([Math.min(...values), Math.max(...values)]).toEqual([min, max]);
      expect(mean).toBeCloseTo(values.reduce((sum, value) => sum + value) / count, 10);
      expect(step).toBe(((own[0]?.step ?? 0) + (own.at(-1)?.step ?? 0)) / 2);
      from += count;
    }
    expect(from).toBe(200_000);
    expect(series.recent).toEqual(points.slice(-40).map(({ value }) => value));
    expect(series.total).toBeCloseTo(
      points.reduce((sum, { value }) => sum + value, 0),
      6,
    );
  });

  it('keeps the gaps of values that are not finite, also when buckets are joined', () => {
    const points = pointsOf(100_000);
    for (const at of [30_000, 60_000]) (points[at] as Point).value = null;
    const { parts } = seriesOf(points).curve(160);
    expect(parts).toHaveLength(3);
    expect(parts[0]?.at(-1)?.step).toBeLessThan(30_010);
    expect(parts[1]?.[0]?.step).toBeGreaterThan(29_990);
    const none = seriesOf([
      { step: 1, value: null },
      { step: 2, value: null },
    ]);
    expect([none.count, none.marks, none.curve(160).parts]).toEqual([2, undefined, []]);
  });

  it('can be looked at from a step on, more closely', () => {
    const series = seriesOf(pointsOf(10_000));
    const { span, parts, count } = series.curve(160, 9901);
    expect([span, count, parts.flat().length]).toEqual([[9901, 10_000], 100, 100]);
    expect(series.curve(160, 101, 200).count).toBe(100);
    expect(series.curve(160, 20_000).parts).toEqual([]);
    expect(series.valueAt(5000)).toBe(pointsOf(10_000)[4999]?.value);
    expect(series.valueAt(0)).toBeUndefined();
  });
});
