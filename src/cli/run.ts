/** What all training commands do around a trainer: write metrics, save checkpoints, resume, and leave a model at the end. */
import { openCheckpoints } from '../checkpoint/checkpoints.ts';
import type { Stateful } from '../checkpoint/parts.ts';
import type { SpikeOptions } from '../checkpoint/spikes.ts';
import { type Saveable, saveTensors } from '../checkpoint/tensor-files.ts';
import type { Skipped } from '../data/rows.ts';
import { ConsoleMetrics } from '../metrics/console.ts';
import { JsonlMetrics, truncateAfter } from '../metrics/jsonl.ts';
import type { Numbers } from '../metrics/metrics.ts';
import type { Parameter } from '../tensor.ts';
import { Anomalies } from './anomalies.ts';
import { openRun, runDirectory } from './run-directory.ts';
import { StopSignals } from './signals.ts';

/** A trainer with what it changes. */
export interface Training {
  /** The steps of the whole run. */
  steps: number;
  /** All that changes from step to step: the model as `weights`, which is left at the end, and everything else by name. */
  parts: { weights: Saveable } & Record<string, Saveable | Stateful | undefined>;
  /** The steps after the first `start`. Where `signal` is aborted before a step has changed weights, it throws the reason. */
  train(start: number, signal: AbortSignal): AsyncGenerator<{ readonly step: number; readonly timing?: Numbers }>;
}

/** What the loop reads of a command's configuration; all of it is saved. */
export interface RunConfig {
  out: string;
  checkpoint: { every: number; keep: number; spikes?: SpikeOptions | undefined };
}

/** Whether to go on with a run: from its newest checkpoint that is whole, or from the one of a path. */
export type Resume = boolean | string;

/**
 * Runs `training` in the run directory `config.out`, to its end or to a signal (signals.ts). Resuming goes on from a
 * checkpoint as if nothing had been in between, or from the beginning where there is none.
 */
export async function runTraining(training: Training, config: RunConfig, resume: Resume): Promise<void> {
  const run = runDirectory(config.out);
  const { steps, parts, train } = training;
  const cut = async (step: number) => {
    for (const path of [run.metrics, run.timing]) await truncateAfter(path, step);
  };
  let metrics: JsonlMetrics | undefined;
  using signals = new StopSignals(() => checkpoints.saveSoon());
  await using checkpoints = await openCheckpoints({
    ...config.checkpoint,
    directory: run.checkpoints,
    parts,
    signal: signals.stop,
    rewind: cut,
    flush: async () => metrics?.flush(),
    warn,
  });
  // The configuration is saved only after the checkpoint was found to fit it.
  const start = resume === false ? 0 : await checkpoints.restore(resume === true ? undefined : resume);
  openRun(config.out, config, resume !== false);
  await cut(start);
  if (start > 0) console.error(`going on after step ${start}`);

  metrics = new JsonlMetrics(config.out);
  const sinks = [metrics, new ConsoleMetrics(steps)];
  const anomalies = new Anomalies(config.out, parts);
  let done = start;
  try {
    for await (const row of checkpoints.during((from) => train(from, signals.stop))) {
      done = row.step;
      for (const sink of sinks) sink.write({ ...row });
      anomalies.watch({ ...row });
    }
  } finally {
    for (const sink of sinks) await sink.close();
  }
  if (signals.stop.aborted && done < steps) throw signals.stop.reason;
  await saveTensors(run.model, parts.weights.contents());
  console.error(`saved ${run.model}`);
}

/** Tells on stderr of something that went wrong without ending the run. */
function warn(message: string): void {
  console.error(`warning: ${message}`);
}

/** Tells on stderr how large things are, as in `983,936 parameters, 1,003,855 tokens`. */
export function note(sizes: Readonly<Record<string, number>>): void {
  console.error(
    Object.entries(sizes)
      .map(([name, size]) => `${size.toLocaleString('en-US')} ${name}`)
      .join(', '),
  );
}

/** The numbers in all `parameters` together. */
export function countParameters(parameters: readonly Parameter[]): number {
  return parameters.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

/** Tells on stderr which rows of a file are not used, the first of them by name. */
export function noteSkipped(skipped: readonly Skipped[]): void {
  const [first] = skipped;
  if (first === undefined) return;
  const rows = skipped.length === 1 ? '1 row is' : `${skipped.length} rows are`;
  console.error(`${rows} not used, the first ${first.place}: ${first.reason}`);
}
