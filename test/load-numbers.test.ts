/** The arithmetic of benchmarks/load.mjs, whose figures are read as they are. */
import { describe, expect, it } from 'vitest';

// A program in JavaScript, which has no types.
const { percentile, random, readStream, slope, splitTime } = await import(
  new URL('../benchmarks/load/numbers.mjs', import.meta.url).href
);

describe('percentile', () => {
  it('is the value that so many lie at or below', () => {
    const values = Array.from({ length: 200 }, (_, i) => 200 - i);
    expect([50, 99, 100].map((percent) => percentile(values, percent))).toEqual([100, 198, 200]);
    expect(percentile([3, 1, 2], 50)).toBe(2);
    expect(percentile([7], 50)).toBe(7);
    expect(percentile([], 99)).toBeNaN();
  });
});

describe('slope', () => {
  it('is that of the line with the least squared distance', () => {
    const points = [1, 2, 4, 7].map((x) => [x, 3 - 0.25 * x]);
    expect(slope(points)).toBeCloseTo(-0.25, 12);
    // What is added is orthogonal to 1 and to x, so that the line stays.
    const added = [1, -2, 1];
    expect(slope([0, 1, 2].map((x) => [x, 5 + 2 * x + (added[x] as number)]))).toBeCloseTo(2, 12);
    expect(slope([[1, 1]])).toBe(0);
  });
});

describe('readStream', () => {
  const event = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
  const piece = (text: string, finish_reason: string | null = null) => event({ choices: [{ text, finish_reason }] });
  const usage = event({ choices: [], usage: { completion_tokens: 4 } });
  const whole = [piece('ab'), ': ping\n\n', piece('cĂ'), piece('', 'length'), usage, 'data: [DONE]\n\n'].join('');

  it('gives the same answer however the bytes come', () => {
    const { first: _, gaps: __, ...said } = readStream(0, [[0, whole]]);
    expect(said).toEqual({ text: 'abcĂ', tokens: 4, events: 2, finish: 'length', done: true, error: undefined });
    for (let size = 1; size < 40; size++) {
      const chunks = whole.match(new RegExp(`[^]{1,${size}}`, 'gu')) as string[];
      const read = readStream(
        0,
        chunks.map((chunk, i) => [i, chunk]),
      );
      expect(read).toMatchObject(said);
    }
  });

  it('counts time from the request to the first event, and between chunks that bring events', () => {
    const chunks = [
      [10, ': ping\n\n'],
      [30, piece('a').slice(0, 9)],
      [35, piece('a').slice(9)],
      [50, piece('b') + piece('c')],
      [60, ': ping\n\n'],
      [90, piece('d') + piece('', 'length') + usage],
    ];
    expect(readStream(5, chunks)).toMatchObject({ first: 30, gaps: [15, 40], events: 4, done: false });
  });

  it('has no first event where there is none, and tells errors', () => {
    const read = readStream(5, [[10, event({ error: { message: 'too much' } })]]);
    expect(read).toMatchObject({ error: 'too much', gaps: [], events: 0 });
    expect(read.first).toBeNaN();
  });
});

describe('splitTime', () => {
  it('divides what was taken between two looks, with threads that came and went', () => {
    const before = { 10: 5, 11: 1, 12: 100, 13: 2 };
    const after = { 10: 7, 11: 4, 12: 100.5, 14: 2.5 };
    expect(splitTime(before, after, { main: 10, threads: 2 })).toEqual({ http: 2, engine: 5.5, rest: 0.5 });
    expect(splitTime(before, after, { main: 10, threads: 1 })).toEqual({ http: 2, engine: 3, rest: 3 });
  });
});

describe('random', () => {
  it('repeats itself for a seed, and is spread over 0 to 1', () => {
    const draw = (seed: number) => Array.from({ length: 1000 }, random(seed));
    expect(draw(3)).toEqual(draw(3));
    expect(draw(3)).not.toEqual(draw(4));
    const values = draw(3) as number[];
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...values)).toBeLessThan(1);
    expect(values.reduce((sum, value) => sum + value, 0) / 1000).toBeCloseTo(0.5, 1);
  });
});
