/** What all training commands do around a trainer: write metrics, save checkpoints, resume, and leave a model at the end. */
import {
  loadCheckpoint,
  latestCheckpoint,
  type Saveable,
  saveCheckpoint,
  saveTensors,
} from '../checkpoint/checkpoint.ts';
import type { Skipped } from '../data/rows.ts';
import { ConsoleMetrics } from '../metrics/console.ts';
import { JsonlMetrics, truncateAfter } from '../metrics/jsonl.ts';
import type { Numbers } from '../metrics/metrics.ts';
import type { Parameter } from '../tensor.ts';
import { openRun, runDirectory } from './run-directory.ts';

/** A trainer with what it changes. */
export interface Training {
  /** The steps of the whole run. */
  steps: number;
  weights: Saveable;
  optimizer: Saveable;
  /** Everything else that changes from step to step, as JSON, and how to go on from it. */
  state(): unknown;
  restore(state: unknown): void;
  /** The steps after the first `start`. */
  train(start: number): AsyncGenerator<{ readonly step: number; readonly timing?: Numbers }>;
}

/** What the loop reads of a command's configuration; all of it is saved. */
export interface RunConfig {
  out: string;
  checkpoint: { every: number; keep: number };
}

/**
 * Runs `training` in the run directory `config.out`, to its end or to Ctrl-C, which saves what was done so far. Resuming
 * goes on from the last checkpoint as if nothing had been in between, or from the beginning where there is none.
 */
export async function runTraining(training: Training, config: RunConfig, resume: boolean): Promise<void> {
  // The configuration is saved only after the checkpoint was found to fit it.
  const start = resume ? await restore(training, config.out) : 0;
  const run = openRun(config.out, config, resume);
  for (const path of [run.metrics, run.timing]) await truncateAfter(path, start);
  if (start > 0) console.error(`going on after step ${start}`);

  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once('SIGINT', interrupt);
  const sinks = [new JsonlMetrics(config.out), new ConsoleMetrics(training.steps)];
  let done = start;
  try {
    for await (const row of training.train(start)) {
      done = row.step;
      for (const sink of sinks) sink.write({ ...row });
      const last = done === training.steps || stop.signal.aborted;
      if (last || done % config.checkpoint.every === 0) {
        const checkpoint = { ...training, step: done, state: training.state() };
        await saveCheckpoint(run.checkpoints, checkpoint, config.checkpoint.keep);
      }
      if (last) break;
    }
  } finally {
    process.off('SIGINT', interrupt);
    for (const sink of sinks) await sink.close();
  }

  if (done < training.steps) {
    console.error(`stopped after step ${done}; --resume goes on from there`);
    process.exitCode = 130;
    return;
  }
  await saveTensors(run.model, training.weights.contents());
  console.error(`saved ${run.model}`);
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

/** Reads the last checkpoint of the run `out` into `training`; the steps that it had done. */
async function restore(training: Training, out: string): Promise<number> {
  const path = await latestCheckpoint(runDirectory(out).checkpoints);
  if (path === undefined) return 0;
  const { step, state } = await loadCheckpoint(path, training);
  training.restore(state);
  return step;
}
