/** The report of runs: what its numbers become, and that nothing in a run can be more than text. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { reportCommand } from '../src/cli/report.ts';
import { DataError, FileError } from '../src/errors.ts';
import { chart, MOST_BUCKETS } from '../src/report/chart.ts';
import { curveOf, type Point } from '../src/report/curve.ts';
import { escapeHtml } from '../src/report/escape.ts';
import { grouped } from '../src/report/groups.ts';
import { reportPage } from '../src/report/page.ts';
import { readRun } from '../src/report/read.ts';
import { linearScale, logScale } from '../src/report/scale.ts';
import { labelOf } from '../src/report/tables.ts';
import { capturePrinted, palm, printed } from './command-line.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-report-'));
afterAll(() => rmSync(folder, { recursive: true }));
capturePrinted();

const HOSTILE = `<script>alert("x")</script>'&\u0000\u001b[2J`;

/** A run folder of so many steps. */
function run(name: string, steps: number, { lr = 0.1, response = 'or not', best = 0 } = {}): string {
  const path = join(folder, name);
  mkdirSync(path);
  const rows = Array.from({ length: steps }, (_, i) => ({
    step: i + 1,
    loss: i === 4 ? null : 5 / (i + 1),
    validationLoss: (i + 1) % 5 === 0 ? 1 : undefined,
    epochs: 4,
    best: i < 2 || i + 1 === best ? Math.sign(best) || undefined : undefined,
  }));
  const lines = (objects: object[]) => objects.map((row) => `${JSON.stringify(row)}\n`).join('');
  writeFileSync(join(path, 'metrics.jsonl'), lines(rows));
  writeFileSync(join(path, 'timing.jsonl'), lines(rows.map(({ step }) => ({ step, seconds: 0.5 }))));
  writeFileSync(
    join(path, 'samples.jsonl'),
    lines([5, 10].map((step) => ({ step, prompt: 'To be', response, score: 1 }))),
  );
  writeFileSync(
    join(path, 'config.json'),
    JSON.stringify({
      out: path,
      lr,
      model: { dim: 16 },
      betas: [0.9, 0.99],
      evaluation: best ? { keepBest: 'loss' } : {},
    }),
  );
  return path;
}

describe('an axis', () => {
  const labels = (scale: { ticks: readonly { label: string }[] }) => scale.ticks.map(({ label }) => label);

  it.each([
    [0, 1, ['0', '0.2', '0.4', '0.6', '0.8', '1.0']],
    [1, 25, ['5', '10', '15', '20', '25']],
    [-1.13, 0.44, ['−1.0', '−0.5', '0']],
    [0, 20_000, ['0', '5000', '10k', '15k', '20k']],
    [0, 0.000031, ['0', '1e-5', '2e-5', '3e-5']],
    [3, 3, ['2', '3', '4']],
  ])('from %d to %d has round ticks', (low, high, expected) => {
    const { ticks } = linearScale(low, high, low === 0 && high === 1 ? 5 : 4);
    expect(ticks.map(({ label }) => label)).toEqual(expected);
  });

  it('is logarithmic on request, with 1, 2 and 5 over few decades', () => {
    expect(labels(logScale(0.09, 6))).toEqual(['0.1', '0.2', '0.5', '1', '2', '5']);
    expect(labels(logScale(1e-6, 5e3)).length).toBeLessThanOrEqual(8);
    expect(logScale(1, 100).at(10)).toBeCloseTo(0.5, 12);
    expect(labels(logScale(2, 2))).toEqual(['1', '2']);
  });

  it('places values between its ends', () => {
    const { at } = linearScale(2, 6);
    expect([at(2), at(3), at(6)]).toEqual([0, 0.25, 1]);
  });
});

describe('a curve', () => {
  const stretches = (points: readonly Point[], most: number) => curveOf(points, most).parts;
  const points = (values: (number | null)[], every = 1) => values.map((value, i) => ({ step: (i + 1) * every, value }));

  it('keeps every point if there are few', () => {
    const [only, ...others] = stretches(points([3, 1, 2], 50), 10);
    expect(others).toEqual([]);
    expect(only?.map(({ step, mean }) => [step, mean])).toEqual([
      [50, 3],
      [100, 1],
      [150, 2],
    ]);
  });

  it('is interrupted where a value is not finite, and where steps are missing', () => {
    expect(stretches(points([1, 2, null, 3]), 10).map((part) => part.map(({ mean }) => mean))).toEqual([[1, 2], [3]]);
    const [a, b, c] = points([1, 2, 3]);
    const hole = [a, b, c, { step: 8, value: 4 }, { step: 9, value: 5 }] as { step: number; value: number }[];
    expect(stretches(hole, 10).map((part) => part.length)).toEqual([3, 2]);
    expect(stretches(points([null, null]), 10)).toEqual([]);
    expect(stretches([], 10)).toEqual([]);
  });

  it('joins thousands of points, and keeps their number, mean and extremes', () => {
    const values = Array.from({ length: 50_000 }, (_, i) => (i * 7919) % 1000);
    const all = stretches(points(values), 100).flat();
    expect(all).toHaveLength(100);
    expect(all.reduce((sum, { count }) => sum + count, 0)).toBe(50_000);
    expect(all.reduce((sum, { mean, count }) => sum + mean * count, 0) / 50_000).toBeCloseTo(499.5, 6);
    expect([Math.min(...all.map(({ min }) => min)), Math.max(...all.map(({ max }) => max))]).toEqual([0, 999]);
    expect(all[0]?.step).toBeCloseTo(250.5, 6);
  });
});

describe('a chart', () => {
  const series = (values: (number | null)[], label = 'A', index = 0) => {
    const points = values.map((value, i) => ({ step: i + 1, value }));
    return { label, index, curve: curveOf(points, MOST_BUCKETS) };
  };

  it('has a title, a description with numbers, and one line per stretch', () => {
    const svg = chart('loss', [series([5, 4, null, 2, 1])], 'c1');
    expect(svg).toContain('<title id="c1-title">loss</title>');
    expect(svg).toContain('Run A: 5 at step 1, 1 at step 5; lowest 1 at step 5, highest 5 at step 1.');
    expect(svg.match(/class="line"/g)).toHaveLength(2);
    expect(svg).toMatch(/^<svg viewBox="0 0 420 220" role="img" aria-labelledby="c1-title c1-desc">.*<\/svg>$/);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('draws higher values higher up, from left to right', () => {
    const [, path] = /class="line" d="M([^"]+)"/.exec(chart('score', [series([0, 10])], 'c')) ?? [];
    const [[x1, y1], [x2, y2]] = (path as string).split('L').map((at) => at.split(' ').map(Number)) as [
      number[],
      number[],
    ];
    expect(x1).toBe(54);
    expect(x2).toBe(400);
    expect(y2).toBeLessThan(y1 as number);
  });

  it('has a logarithmic axis for losses over a wide range alone', () => {
    expect(chart('loss', [series([100, 1])], 'c')).toContain('log scale');
    for (const [name, values] of [
      ['score', [100, 1]],
      ['loss', [2, 1]],
      ['loss', [100, -1]],
    ] as const)
      expect(chart(name, [series([...values])], 'c')).not.toContain('log scale');
  });

  it('names several runs at their ends, apart from each other', () => {
    const svg = chart('loss', [series([2, 1]), series([3, 1], 'B', 1)], 'c');
    const ysOf = (drawn: string) =>
      [...drawn.matchAll(/class="end run-\d" x="[\d.]+" y="([\d.]+)"/g)].map(([, y]) => Number(y));
    const ys = ysOf(svg);
    const six = ysOf(
      chart(
        'score',
        [...'ABCDEF'].map((label, i) => series([1, 0], label, i)),
        'c',
      ),
    );
    const [axis] = /class="axis" d="M[\d.]+ ([\d.]+)v4"/.exec(svg)?.slice(1).map(Number) ?? [];
    expect(six.map((y, i) => y - (six[i - 1] ?? y - 11))).toEqual([11, 11, 11, 11, 11, 11]);
    expect(six.at(-1)).toBeLessThanOrEqual(axis as number);
    expect(Math.abs((ys[1] as number) - (ys[0] as number))).toBeGreaterThanOrEqual(11);
  });

  it('is drawn for a single point, and for nothing finite', () => {
    expect(chart('x', [series([1])], 'c')).toContain('<circle');
    expect(chart('x', [series([null, null])], 'c')).toContain('Run A: no finite value.');
  });
});

describe('a page', () => {
  it('shows curves, samples, settings with their differences, and needs nothing else', () => {
    const page = reportPage([readRun(run('first', 10)), readRun(run('second', 12, { lr: 0.2 }))]);
    for (const text of ['loss', 'validationLoss', 'Did not change: epochs 4', 'or not', 'model.dim'])
      expect(page).toContain(text);
    expect(page).toMatch(/<tr class="differs"><th scope="row">≠ lr<\/th><td>0.1<\/td><td>0.2<\/td><\/tr>/);
    expect(page).toMatch(/<tr><th scope="row">model.dim<\/th><td>16<\/td><td>16<\/td><\/tr>/);
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
    expect(page).not.toMatch(/<script|<link|<img|https?:|url\(|@import/i);
    expect(page).toContain('prefers-color-scheme:dark');
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('marks the best step in the table and on the curve it was best by', () => {
    const plain = run('plain', 10);
    expect(reportPage([readRun(plain)])).not.toMatch(/best step|class="best/);
    const page = reportPage([readRun(plain), readRun(run('best', 10, { best: 7 }))]);
    expect(page).toContain('<th scope="col">best step</th>');
    expect(page).toContain('<td>7: loss 0.7143</td>');
    expect(page).toContain('<td>—</td>');
    expect(page.match(/class="best run-1"/g)).toHaveLength(1);
    expect(page).toContain('The best step, which is marked, is 7.');
    expect(page).not.toContain('<b>best</b>');
  });

  it('shows hostile names, settings, metrics and answers as text', () => {
    const path = run('hostile', 10, { response: HOSTILE });
    const read = readRun(path);
    const metrics = new Map([
      ...read.metrics,
      [
        HOSTILE,
        [
          { step: 1, value: 1 },
          { step: 2, value: 2 },
        ],
      ],
    ]);
    const config = new Map([[HOSTILE, HOSTILE]]);
    const inputs = { [HOSTILE]: { path: HOSTILE, bytes: 1, sha256: HOSTILE } };
    const note = { version: HOSTILE, tokenizer: HOSTILE, inputs, rows: { [HOSTILE]: 1 } };
    for (const runs of [1, 2]) {
      const page = reportPage(Array.from({ length: runs }, () => ({ ...read, name: HOSTILE, metrics, config, note })));
      for (const bad of ['<script', '\u0000', '\u001b']) expect(page).not.toContain(bad);
      expect(page).toContain(escapeHtml(HOSTILE));
      const opened = page.match(/<(?!meta|path|circle)\w/g);
      expect(page.match(/<\/\w/g)).toHaveLength(opened?.length as number);
    }
  });

  it('has text of sufficient contrast in light and dark', () => {
    const page = reportPage([readRun(run('contrast', 3))]);
    const schemes = [
      ...page.matchAll(
        /--back:(#\w{6});--card:(#\w{6});--text:(#\w{6});--soft:(#\w{6});.*?--mark:(#\w{6});((?:--run-\d:#\w{6};)+)/g,
      ),
    ];
    expect(schemes).toHaveLength(2);
    for (const [, back, card, text, soft, mark, runs] of schemes as string[][]) {
      const colors = [text, soft, ...(runs as string).matchAll(/#\w{6}/g)].map(String);
      for (const color of colors)
        for (const on of [back, card]) expect(contrast(color, on as string)).toBeGreaterThan(4.5);
      expect(contrast(text as string, mark as string)).toBeGreaterThan(4.5);
    }
  });

  it('groups every metric once', () => {
    const names = ['kl', 'approxKl', 'validationLoss', 'gradNorm', 'tokensPerSecond', 'unheardOf'];
    expect(
      grouped(names)
        .flatMap(([, members]) => members)
        .sort(),
    ).toEqual([...names].sort());
  });

  it('names runs beyond Z', () => {
    expect([0, 25, 26, 27].map(labelOf)).toEqual(['A', 'Z', 'AA', 'AB']);
  });
});

describe('palm report', () => {
  it('writes one file, in the first run unless told otherwise', async () => {
    const [a, b] = [run('a', 6), run('b', 6)];
    await palm(reportCommand(), a, b);
    expect(printed.stdout).toBe(`${join(a, 'report.html')}\n`);
    const out = join(folder, 'both.html');
    await palm(reportCommand(), a, b, '--out', out);
    expect(readFileSync(out, 'utf8')).toBe(readFileSync(join(a, 'report.html'), 'utf8'));
  });

  it('leaves out a line that is being written, and names damaged ones', async () => {
    const path = run('live', 6);
    writeFileSync(join(path, 'metrics.jsonl'), '{"step":1,"loss":2}\n{"step":2,"lo');
    expect(readRun(path).metrics.get('loss')).toEqual([{ step: 1, value: 2 }]);
    writeFileSync(join(path, 'metrics.jsonl'), '{"step":1,"loss":2}\n{"loss":3}\n');
    expect(() => readRun(path)).toThrow(DataError);
    expect(() => readRun(path)).toThrow(/metrics\.jsonl:2/);
    writeFileSync(join(path, 'metrics.jsonl'), 'no\n');
    expect(() => readRun(path)).toThrow(/metrics\.jsonl:1/);
    await expect(palm(reportCommand(), folder)).rejects.toThrow(FileError);
  });
});

/** The contrast of two colors, as WCAG defines it. */
function contrast(a: string, b: string): number {
  const luminance = (color: string) => {
    const [red, green, blue] = [1, 3, 5].map((at) => {
      const share = Number.parseInt(color.slice(at, at + 2), 16) / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    }) as [number, number, number];
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}
