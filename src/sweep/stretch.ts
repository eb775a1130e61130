/** A stretch of a run: from where it is to a step, where it is saved and can go on later. */
import { existsSync } from 'node:fs';
import { ConfigError, nearest, printable } from '../errors.ts';
import type { Method, RunConfig, Training } from '../methods/method.ts';
import { type MetricsSink, splitStep, type StepMetrics } from '../metrics/metrics.ts';
import { readRun } from '../report/read.ts';
import { makeOut, runDirectory } from '../runs/run-directory.ts';
import { runTraining } from '../training/run.ts';

/** What a stretch is run for, and what it says. */
export interface StretchOptions {
  metric: string;
  signal?: AbortSignal | undefined;
  warn: (line: string) => void;
}

/** Where a stretch came to. */
export interface Stretch {
  step: number;
  /** Whether the run has ended there. */
  ended: boolean;
}

/**
 * Runs `config` until step `end`, or to its own end if that is earlier, from its newest checkpoint if it has one: the weights are
 * those of a run without a stop, bit for bit.
 * @throws ConfigError if the steps do not have the metric.
 * @throws the errors of the run.
 */
export async function runStretch(
  method: Method,
  config: RunConfig,
  end: number,
  { metric, signal, warn }: StretchOptions,
): Promise<Stretch> {
  const resume = existsSync(runDirectory(config.out).config);
  const { start } = await method.open(config as Parameters<Method['open']>[0]);
  makeOut(config.out);
  const training = await start();
  const pause = new AbortController();
  let step = 0;
  const sink: MetricsSink = {
    write(row) {
      checkMetric(row, metric);
      step = row.step;
      if (step >= end && step < training.steps) pause.abort();
    },
    async close() {},
  };
  try {
    const signals = [pause.signal, ...(signal === undefined ? [] : [signal])];
    const options = { resume, signal: AbortSignal.any(signals), sinks: [sink], say: () => {}, warn };
    const { steps } = await runTraining(training, options);
    return { step: steps, ended: true };
  } catch (error) {
    if (!pause.signal.aborted || error !== pause.signal.reason) throw error;
    return { step, ended: false };
  } finally {
    free(training);
  }
}

/** Frees the models that were trained, and their optimizer: the next run needs the memory. */
function free({ parts }: Training): void {
  const held = Object.values(parts as Record<string, Held | undefined>).filter((part) => part?.dispose !== undefined);
  for (const part of [...held, ...held.map((part) => part?.model)]) part?.dispose?.();
}

/** What parts may have. */
interface Held {
  dispose?(): void;
  /** The model that a policy or a reward model reads. */
  model?: Held;
}

/** @throws ConfigError if a step does not have the metric, with or without a value. */
function checkMetric(row: StepMetrics, metric: string): void {
  const { metrics } = splitStep(row);
  if (Object.hasOwn(metrics, metric)) return;
  const known = Object.keys(metrics);
  const near = nearest(metric, known);
  throw new ConfigError({
    argument: 'sweep.metric',
    received: `${printable(metric)}, which the steps of this run do not have`,
    expected: `one of ${known.join(', ')}`,
    fix: near === undefined ? undefined : `Did you mean ${near}?`,
  });
}

/** The mean of the finite values of a metric after step `from` and up to `to`; undefined if there are none. */
export function meanOf(out: string, metric: string, from: number, to: number): number | undefined {
  const points = readRun(out).metrics.get(metric) ?? [];
  const values = points.flatMap(({ step, value }) => (step > from && step <= to && value !== null ? [value] : []));
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
}
