import { closeSync, fsyncSync, openSync, writeFileSync } from 'node:fs';
import { readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { checkKind, having, PATH } from '../checks/kinds.ts';
import { DataError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { type MetricsSink, type Numbers, type Sample, type StepMetrics, splitStep } from './metrics.ts';

/** The metrics file of a run folder; the same run gives the same bytes. */
export const METRICS_FILE = 'metrics.jsonl';
/** The file of times and speeds, kept apart because they vary from run to run. */
export const TIMING_FILE = 'timing.jsonl';
/** The file of answers of the model, one a line, with the step they are from. */
export const SAMPLES_FILE = 'samples.jsonl';

/**
 * Appends a line per step to metrics.jsonl and timing.jsonl in a run folder, and a line per sample to samples.jsonl, which is
 * created with the first one. Numbers keep all their digits; non-finite ones become null. A line is in the file when `write`
 * returns and survives if the process is killed.
 */
export class JsonlMetrics implements MetricsSink {
  private readonly metrics: LineFile;
  private readonly timing: LineFile;
  private readonly directory: string;
  private samples: LineFile | undefined;

  /** @throws FileError if the files cannot be written. */
  constructor(directory: string) {
    checkKind('directory', directory, PATH);
    this.directory = directory;
    this.metrics = new LineFile(join(directory, METRICS_FILE));
    this.timing = new LineFile(join(directory, TIMING_FILE));
  }

  write(step: StepMetrics): void {
    const { metrics, timing, samples } = splitStep(step);
    this.metrics.append(step.step, metrics);
    if (step.timing !== undefined) this.timing.append(step.step, timing);
    for (const sample of samples) {
      this.samples ??= new LineFile(join(this.directory, SAMPLES_FILE));
      this.samples.append(step.step, sample);
    }
  }

  /** Resolves once everything written is on disk. */
  async flush(): Promise<void> {
    this.metrics.flush();
    this.timing.flush();
    this.samples?.flush();
  }

  async close(): Promise<void> {
    this.metrics.close();
    this.timing.close();
    this.samples?.close();
  }
}

/** Prints each step as a JSON object on a line: step, metrics, `timing` and `samples`. */
export class JsonLines implements MetricsSink {
  readonly #stream: { write(text: string): unknown };

  /** @param stream defaults to stdout */
  constructor(stream: { write(text: string): unknown } = process.stdout) {
    checkKind('stream', stream, having('a stream', 'write'));
    this.#stream = stream;
  }

  write(step: StepMetrics): void {
    this.#stream.write(`${JSON.stringify(step)}\n`);
  }

  async close(): Promise<void> {}
}

class LineFile {
  private readonly path: string;
  private readonly descriptor: number;

  constructor(path: string) {
    this.path = path;
    this.descriptor = attempt(path, () => openSync(path, 'a'));
  }

  append(step: number, values: Numbers | Sample): void {
    // JSON omits undefined and writes null for NaN and the infinities.
    attempt(this.path, () => writeFileSync(this.descriptor, `${JSON.stringify({ step, ...values })}\n`));
  }

  flush(): void {
    attempt(this.path, () => fsyncSync(this.descriptor));
  }

  close(): void {
    attempt(this.path, () => closeSync(this.descriptor));
  }
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw asFileError(error, path, 'a file to append to');
  }
}

/**
 * Truncates a metrics file after the last line with at most `step`, so that a run resumed there continues as if it had
 * never gone further. An incomplete last line, left by a killed process, is removed too; a missing file is ignored.
 * @throws FileError if the file cannot be changed.
 * @throws DataError if a line before the cut has no step.
 */
export async function truncateAfter(path: string, step: number): Promise<void> {
  try {
    const bytes = await readFile(path);
    const keep = lengthUpTo(bytes, step, path);
    if (keep < bytes.length) await truncate(path, keep);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw asFileError(error, path, 'a file to truncate');
  }
}

function lengthUpTo(bytes: Buffer, step: number, path: string): number {
  let begin = 0;
  for (let line = 1; ; line++) {
    const end = bytes.indexOf(10, begin);
    if (end < 0) return begin;
    const text = bytes.toString('utf8', begin, end);
    const found = stepOf(text);
    if (found === undefined) {
      throw new DataError({
        argument: `${path}:${line}`,
        received: printable(text),
        expected: 'a step with its metrics',
      });
    }
    if (found > step) return begin;
    begin = end + 1;
  }
}

function stepOf(line: string): number | undefined {
  try {
    const { step } = JSON.parse(line) as { step?: unknown };
    return typeof step === 'number' ? step : undefined;
  } catch {
    return undefined;
  }
}
