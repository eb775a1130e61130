import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DataError, FileError } from '../src/errors.ts';
import { ConsoleMetrics } from '../src/metrics/console.ts';
import { JsonlMetrics, METRICS_FILE, TIMING_FILE, truncateAfter } from '../src/metrics/jsonl.ts';

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

/** A stream that remembers, and a clock that is set by hand. */
function stage(terminal: { isTTY?: boolean; columns?: number }, total: number) {
  const written: string[] = [];
  const clock = { time: 0 };
  const stream = { ...terminal, write: (text: string) => written.push(text) };
  return { written, clock, sink: new ConsoleMetrics(total, stream, () => clock.time) };
}

describe('a log', () => {
  it('shows the first step, the last, and lines a second apart in between', async () => {
    const { written, clock, sink } = stage({}, 100);
    for (let step = 1; step <= 100; step++) {
      sink.write({ step, loss: 2 });
      clock.time += 40;
    }
    await sink.close();
    expect(written.map((line) => line.slice(0, 12))).toEqual(
      [1, 26, 51, 76, 100].map((step) => `step ${String(step).padStart(3)}/100`),
    );
  });

  it('shows the last step of a run that stops early', async () => {
    const { written, sink } = stage({}, 100);
    for (let step = 1; step <= 7; step++) sink.write({ step, loss: step });
    await sink.close();
    await sink.close();
    expect(written).toEqual(['step   1/100  loss 1\n', 'step   7/100  loss 7  ETA 0s\n']);
  });

  it('shows step, loss, speed, remaining time, then the other metrics in their order', async () => {
    const { written, clock, sink } = stage({}, 1000);
    sink.write({ step: 1, gradNorm: 0.123456, loss: 5.54321, timing: { tokensPerSecond: 900 } });
    clock.time = 3000;
    const timing = { seconds: 3, tokensPerSecond: 12_345 };
    sink.write({ step: 2, gradNorm: 1, loss: 1.5, learningRate: 3e-4, validationLoss: 4.25, skipped: 0, timing });
    clock.time = 6000;
    sink.write({ step: 3, gradNorm: Number.NaN, loss: 12345.678, learningRate: 0.01, timing });
    expect(written).toEqual([
      'step    1/1000  loss 5.543  900 tokens/s  gradNorm 0.1235\n',
      'step    2/1000  loss 1.500  12k tokens/s  ETA 49m 54s  gradNorm 1  learningRate 3.00e-4  validationLoss 4.250  skipped 0\n',
      'step    3/1000  loss 1.23e+4  12k tokens/s  ETA 49m 51s  gradNorm NaN  learningRate 0.01000  validationLoss 4.250  skipped 0\n',
    ]);
  });

  it.each([
    [59_400, 'ETA 59s'],
    [59_600, 'ETA 1m 00s'],
    [3_599_400, 'ETA 59m 59s'],
    [3_599_600, 'ETA 1h 00m'],
    [360_000_000, 'ETA 100h 00m'],
  ])('writes %d ms as %s', (time, expected) => {
    const { written, clock, sink } = stage({}, 3);
    sink.write({ step: 1 });
    clock.time = time;
    sink.write({ step: 2 });
    expect(written[1]).toBe(`step 2/3  ${expected}\n`);
  });

  it.each([
    [999.4, '999'],
    [999.6, '1.0k'],
    [9_940, '9.9k'],
    [9_960, '10k'],
    [999_400, '999k'],
    [1_500_000, '1.5M'],
  ])('writes %d tokens a second as %s', (tokensPerSecond, expected) => {
    const { written, sink } = stage({}, 3);
    sink.write({ step: 1, timing: { tokensPerSecond } });
    expect(written[0]).toBe(`step 1/3  ${expected} tokens/s\n`);
  });

  it('estimates the remaining time from the first step of a resumed run', () => {
    const { written, clock, sink } = stage({}, 1000);
    sink.write({ step: 900 });
    clock.time = 10_000;
    sink.write({ step: 910 });
    expect(written[1]).toBe('step  910/1000  ETA 1m 30s\n');
  });
});

describe('a terminal', () => {
  beforeEach(() => void vi.stubEnv('TERM', 'xterm'));
  afterEach(() => void vi.unstubAllEnvs());

  it('shows one line that is rewritten, cut to the width, and ended at the close', async () => {
    const { written, clock, sink } = stage({ isTTY: true, columns: 20 }, 50);
    for (let step = 1; step <= 50; step++) {
      sink.write({ step, loss: 1.25, kl: 0.5 });
      clock.time += 50;
    }
    await sink.close();
    expect(written.length).toBe(27); // every other step, the last one, and the line feed
    expect(written[0]).toBe('\r\x1b[2Kstep  1/50  loss 1.');
    expect(written[1]).toBe('\r\x1b[2Kstep  3/50  loss 1.');
    expect(written.slice(-2)).toEqual(['\r\x1b[2Kstep 50/50  loss 1.', '\n']);
  });

  it('gets a log if it cannot rewrite a line', () => {
    vi.stubEnv('TERM', 'dumb');
    const { written, sink } = stage({ isTTY: true, columns: 20 }, 50);
    sink.write({ step: 1, loss: 1.25, kl: 0.5 });
    expect(written).toEqual(['step  1/50  loss 1.250  kl 0.5000\n']);
  });

  it('stays empty if there was no step', async () => {
    const { written, sink } = stage({ isTTY: true }, 50);
    await sink.close();
    expect(written).toEqual([]);
  });
});
