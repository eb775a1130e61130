import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DataError, FileError } from '../src/errors.ts';
import { ConsoleMetrics, type ProgressOptions } from '../src/metrics/console.ts';
import { formatCount, formatDuration, formatNumber } from '../src/metrics/format.ts';
import {
  JsonLines,
  JsonlMetrics,
  METRICS_FILE,
  SAMPLES_FILE,
  TIMING_FILE,
  truncateAfter,
} from '../src/metrics/jsonl.ts';
import { Course, sparkline } from '../src/metrics/sparkline.ts';

const folder = mkdtempSync(join(tmpdir(), 'palm-metrics-'));
afterAll(() => rmSync(folder, { recursive: true }));
const metricsPath = join(folder, METRICS_FILE);
const timingPath = join(folder, TIMING_FILE);
const read = (path: string) => readFileSync(path, 'utf8');

describe('JsonlMetrics', () => {
  beforeEach(() => {
    rmSync(metricsPath, { force: true });
    rmSync(timingPath, { force: true });
  });

  it('writes metrics and timing to separate files, with all digits', async () => {
    const sink = new JsonlMetrics(folder);
    sink.write({ step: 1, loss: 0.1 + 0.2, validationLoss: undefined, timing: { seconds: 1 / 3 } });
    sink.write({
      step: 2,
      loss: Number.NaN,
      gradNorm: Number.POSITIVE_INFINITY,
      validationLoss: 2,
      timing: { seconds: 2 },
    });
    sink.write({ step: 3, loss: 1e-300 });
    await sink.close();
    expect(read(metricsPath)).toBe(
      '{"step":1,"loss":0.30000000000000004}\n{"step":2,"loss":null,"gradNorm":null,"validationLoss":2}\n{"step":3,"loss":1e-300}\n',
    );
    expect(read(timingPath)).toBe('{"step":1,"seconds":0.3333333333333333}\n{"step":2,"seconds":2}\n');
  });

  it('writes samples to a file of their own, a line each, once there is one', async () => {
    const path = join(folder, SAMPLES_FILE);
    const sink = new JsonlMetrics(folder);
    sink.write({ step: 1, loss: 1 });
    expect(existsSync(path)).toBe(false);
    const samples = [
      { prompt: 'a', response: 'b', score: 1, kl: undefined },
      { prompt: [1], response: [2] },
    ];
    sink.write({ step: 2, loss: 1, samples });
    await sink.close();
    expect(read(path)).toBe(
      '{"step":2,"prompt":"a","response":"b","score":1}\n{"step":2,"prompt":[1],"response":[2]}\n',
    );
    expect(read(metricsPath)).toBe('{"step":1,"loss":1}\n{"step":2,"loss":1}\n');
    await truncateAfter(path, 1);
    expect(read(path)).toBe('');
    rmSync(path);
  });

  it('writes each line to the file at once', () => {
    const sink = new JsonlMetrics(folder);
    sink.write({ step: 1, loss: 1 });
    expect(read(metricsPath)).toBe('{"step":1,"loss":1}\n');
    return sink.close();
  });

  it('gives a resumed run the same file as an uninterrupted one', async () => {
    const run = async (from: number, to: number) => {
      const sink = new JsonlMetrics(folder);
      for (let step = from; step <= to; step++) sink.write({ step, loss: 1 / step });
      await sink.close();
    };
    await run(1, 20);
    const straight = read(metricsPath);
    rmSync(metricsPath);
    await run(1, 13); // killed here, after a checkpoint at 10
    writeFileSync(metricsPath, `${read(metricsPath)}{"step":14,"lo`);
    await truncateAfter(metricsPath, 10);
    await run(11, 20);
    expect(read(metricsPath)).toBe(straight);
  });

  it.each([
    ['all of it', 5, '{"step":1}\n{"step":3}\n', '{"step":1}\n{"step":3}\n'],
    ['what is not after the step', 2, '{"step":1}\n{"step":3}\n', '{"step":1}\n'],
    ['nothing', 0, '{"step":1}\n{"step":3}\n', ''],
    ['no line that was cut off', 5, '{"step":1}\n{"step":3', '{"step":1}\n'],
    ['no damage after the step', 1, '{"step":1}\n{"step":3}\nxyz\n', '{"step":1}\n'],
  ])('truncates to %s', async (_, step, before, after) => {
    writeFileSync(metricsPath, before);
    await truncateAfter(metricsPath, step);
    expect(read(metricsPath)).toBe(after);
  });

  it('refuses to truncate a file that is damaged before the cut, and ignores a missing one', async () => {
    await truncateAfter(metricsPath, 1);
    writeFileSync(metricsPath, '{"step":1}\n{"loss":1}\n{"step":3}\n');
    const error = await truncateAfter(metricsPath, 5).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DataError);
    expect((error as DataError).message).toContain(`${metricsPath}:2`);
  });

  it('names an unwritable file', () => {
    expect(() => new JsonlMetrics(join(folder, 'none'))).toThrow(FileError);
    expect(() => new JsonlMetrics(join(folder, 'none'))).toThrow(/none.*no such file or folder/);
  });
});

describe('JsonLines', () => {
  it('prints a step a line', async () => {
    const written: string[] = [];
    const sink = new JsonLines({ write: (text: string) => written.push(text) });
    sink.write({ step: 1, loss: Number.NaN, timing: { seconds: 2 } });
    await sink.close();
    expect(written).toEqual(['{"step":1,"loss":null,"timing":{"seconds":2}}\n']);
  });
});

/** A stream that remembers, and a clock that is set by hand. */
function stage(terminal: { isTTY?: boolean; columns?: number }, options: Omit<ProgressOptions, 'stream' | 'now'>) {
  const written: string[] = [];
  const clock = { time: 0 };
  const stream = { ...terminal, write: (text: string) => written.push(text) };
  return { written, clock, sink: new ConsoleMetrics({ ...options, stream, now: () => clock.time }) };
}

const WATCHED = ['loss', 'validationLoss', 'gradNorm'];
const stepsOf = (written: string[]) => written.map((line) => Number.parseInt(line, 10)).filter((step) => step > 0);

describe('a log', () => {
  it('shows the first step, the last, and lines in between that become rarer', async () => {
    const { written, clock, sink } = stage({}, { steps: 1000, watched: WATCHED });
    for (let step = 1; step <= 1000; step++) {
      sink.write({ step, loss: 2 });
      clock.time += 100;
    }
    await sink.close();
    const steps = stepsOf(written);
    expect(steps.slice(0, 4)).toEqual([1, 11, 21, 31]);
    expect(steps.at(-1)).toBe(1000);
    const gaps = steps.slice(1, -1).map((step, i) => step - (steps[i] as number));
    expect(gaps).toEqual([...gaps].sort((a, b) => a - b));
    expect(gaps.at(-1)).toBeGreaterThan(80);
    expect(steps.length).toBeLessThan(45);
  });

  it('shows means since the line before, of the steps that have the metric, and a validation once', async () => {
    const { written, sink } = stage({}, { steps: 8, watched: WATCHED, logEvery: 3 });
    for (let step = 1; step <= 8; step++) {
      sink.write({
        step,
        loss: step,
        validationLoss: step === 5 ? 4.25 : undefined,
        gradNorm: step % 2 ? step : undefined,
      });
    }
    await sink.close();
    expect(written).toEqual([
      'step/8     loss val.loss gradNorm tokens/s     ETA\n',
      '     1        1                 1                 \n',
      '     3    2.500                 3               0s\n',
      '     5    4.500    4.250        5               0s\n',
      '     6        6                                 0s\n',
      '     8    7.500                 7                 \n',
    ]);
  });

  it('has a line for each checkpoint and evaluation, and for what was skipped', async () => {
    const { written, sink } = stage({}, { steps: 100, watched: ['loss'], checkpointEvery: 7 });
    for (let step = 1; step <= 20; step++) {
      sink.write({
        step,
        loss: 1,
        validationAccuracy: step === 9 ? 1 : undefined,
        skipped: step === 5 ? 1 : undefined,
      });
    }
    expect(stepsOf(written)).toEqual([1, 7, 9, 14]);
    expect(written).toContain('step 5: skipped an update that was not finite\n');
    await sink.close();
    expect(stepsOf(written)).toEqual([1, 7, 9, 14, 20]);
    await sink.close();
    expect(stepsOf(written)).toHaveLength(5);
  });

  it('fits into 80 columns, whatever the numbers', () => {
    const { written, clock, sink } = stage({}, { steps: 99_999, watched: ['a', 'b', 'c', 'd', 'e', 'f'] });
    const wide = { a: -123456.78, b: -0.00123, c: -1e-300, d: Number.NEGATIVE_INFINITY, e: 12345.6, f: 1 };
    sink.write({ step: 1, ...wide });
    clock.time = 3_600_000;
    sink.write({ step: 10, ...wide, timing: { tokensPerSecond: 123_456_789 } });
    expect(written).toHaveLength(3);
    for (const line of written) expect(line.length).toBeLessThanOrEqual(80);
    expect(written[0]).not.toContain('f');
    expect(written[2]).toContain('-1.23e+5');
  });

  it('prints two answers, and nothing that a terminal would obey', () => {
    const { written, sink } = stage({}, { steps: 2, watched: ['score'] });
    const sample = { prompt: 'Hi\x1b[2J', response: 'line\nbreak', score: 0.5, kl: 1.25 };
    sink.write({ step: 1, score: 1, samples: [sample, { prompt: [1, 2], response: [3] }, sample] });
    expect(written.slice(2).map((line) => line.replace(/ {3,}/g, '  '))).toEqual([
      '  > "Hi\\u001b[2J"\n',
      '  "line\\nbreak"  score 0.5000  kl 1.250\n',
      '  > [1, 2]\n',
      '  [3]\n',
    ]);
  });

  it.each([
    [{}, 80],
    [{ isTTY: true, columns: 60 }, 60],
    [{ isTTY: true, columns: 200 }, 100],
  ])('fits answers into %j', (terminal, width) => {
    const { written, sink } = stage(terminal, { steps: 2, watched: ['score'] });
    const long = { prompt: 'q'.repeat(300), response: 'a'.repeat(300), score: -123456, kl: 1e-9 };
    sink.write({ step: 1, score: 1, samples: [long] });
    const answers = written.slice(2).map((line) => line.replace('\r\x1b[2K', '').trimEnd());
    expect(answers.map((line) => line.length)).toEqual([width - 1, width - 1]);
    expect(answers[1]).toMatch(/a… {2}score -123456 {2}kl 1.00e-9$/);
  });
});

describe('short numbers', () => {
  it.each([
    [59_400, '59s'],
    [59_600, '1m00s'],
    [3_599_400, '59m59s'],
    [3_599_600, '1h00m'],
    [360_000_000, '100h00m'],
  ])('writes %d ms as %s', (time, expected) => {
    expect(formatDuration(time / 1000)).toBe(expected);
  });

  it.each([
    [999.4, '999'],
    [999.6, '1.0k'],
    [9_940, '9.9k'],
    [9_960, '10k'],
    [999_400, '999k'],
    [1_500_000, '1.5M'],
  ])('writes a count of %d as %s', (count, expected) => {
    expect(formatCount(count)).toBe(expected);
  });

  it.each([
    [5.54321, '5.543'],
    [-0.0123456, '-0.01235'],
    [0.00123, '1.23e-3'],
    [12345.678, '1.23e+4'],
    [Number.NaN, 'NaN'],
    [0, '0'],
  ])('writes %d as %s', (value, expected) => {
    expect(formatNumber(value)).toBe(expected);
  });
});

describe('a curve in a line', () => {
  it('spans the values, with gaps for what is not finite', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([1, Number.NaN, 3])).toBe('▁ █');
    expect(sparkline([2, 2])).toBe('▁▁');
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 4)).toBe('▁▃▆█');
    expect(sparkline([])).toBe('');
  });

  it('keeps a course of any length in few means', () => {
    const course = new Course(8);
    for (let i = 0; i < 1000; i++) course.add(i);
    const values = course.values();
    expect(values.length).toBeLessThanOrEqual(8);
    expect(values).toEqual([...values].sort((a, b) => a - b));
    expect(values[0]).toBe(63.5); // the mean of the first 128
  });
});

describe('a terminal', () => {
  beforeEach(() => void vi.stubEnv('TERM', 'xterm'));
  afterEach(() => void vi.unstubAllEnvs());

  it('keeps lines, and rewrites one below them that ends in a curve and never wraps', async () => {
    const { written, clock, sink } = stage({ isTTY: true, columns: 80 }, { steps: 50, watched: ['loss'] });
    for (let step = 1; step <= 50; step++) {
      sink.write({ step, loss: 100 - step });
      clock.time += 60;
    }
    await sink.close();
    expect(written.filter((text) => text.endsWith('\n'))).toHaveLength(3); // header, first and last step
    const updates = written.filter((text) => !text.endsWith('\n'));
    expect(updates).toHaveLength(24); // 100 ms apart
    expect(updates.every((text) => text.startsWith('\r\x1b[2K') && text.length <= 5 + 79)).toBe(true);
    expect(updates.at(-1)?.slice(5)).toMatch(/^ {5}49 {4}74\.50 .* [▂▃▄▅▆▇█]+▁+$/u);
  });

  it('gets a log if it cannot rewrite a line', () => {
    vi.stubEnv('TERM', 'dumb');
    const { written, sink } = stage({ isTTY: true }, { steps: 50 });
    sink.write({ step: 1, loss: 1.25, kl: 0.5 });
    expect(written[0]).toBe('step/50     loss       kl tokens/s     ETA\n');
    expect(written[1]).toMatch(/^ {6}1 {4}1.250 {3}0.5000 +\n$/);
  });

  it('stays empty if there was no step', async () => {
    const { written, sink } = stage({ isTTY: true }, { steps: 50 });
    await sink.close();
    expect(written).toEqual([]);
  });
});
