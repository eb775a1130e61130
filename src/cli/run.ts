/** What all training commands do around a trainer: write metrics, save checkpoints, resume, and leave a model at the end. */
import { openCheckpoints } from '../checkpoint/checkpoints.ts';
import type { Stateful } from '../checkpoint/parts.ts';
import { type SpikeOptions, Spikes } from '../trainers/spikes.ts';
import { type Saveable, saveTensors } from '../tensor/tensor-files.ts';
import type { Skipped } from '../data/rows.ts';
import { ConsoleMetrics } from '../metrics/console.ts';
import { JsonlMetrics, truncateAfter } from '../metrics/jsonl.ts';
import type { Numbers } from '../metrics/metrics.ts';
import type { Parameter } from '../tensor/tensor.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { packageVersion } from '../version.ts';
import { Anomalies } from './anomalies.ts';
import { keepTokenizer, withTokenizer } from './model-file.ts';
import { openRun, replaceJson, runDirectory } from './run-directory.ts';
import { changesSince, type Noted, noteOf, readNote } from './run-note.ts';
import { StopSignals } from './signals.ts';
import { warn } from './warn.ts';

/** A trainer with what it changes, and what a run notes of it. */
export interface Training extends Noted {
  /** Noted in the model's files, and kept in the run. */
  tokenizer: Tokenizer;
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
  const { steps, train, tokenizer } = training;
  const parts = { ...training.parts, weights: withTokenizer(training.parts.weights, tokenizer) };
  const cut = async (step: number) => {
    for (const path of [run.metrics, run.timing]) await truncateAfter(path, step);
  };
  let metrics: JsonlMetrics | undefined;
  using signals = new StopSignals(() => checkpoints.saveSoon());
  const { spikes, ...saving } = config.checkpoint;
  await using checkpoints = await openCheckpoints({
    ...saving,
    watch: spikes && new Spikes(spikes),
    directory: run.checkpoints,
    parts,
    signal: signals.stop,
    rewind: cut,
    flush: async () => metrics?.flush(),
    warn,
  });
  const then = resume === false ? undefined : readNote(run.note);
  const now = await noteOf(training, resume === false ? packageVersion() : (then?.version ?? FIRST_VERSION));
  if (then !== undefined) changesSince(then, now).forEach(warn);
  // The configuration is saved only after the checkpoint was found to fit it.
  const start = resume === false ? 0 : await checkpoints.restore(resume === true ? undefined : resume);
  keepTokenizer(tokenizer, config.out);
  replaceJson(run.note, now);
  openRun(config.out, config, resume !== false);
  await cut(start);
  if (start >= steps) {
    for await (const _ of train(start, signals.stop)); // no step: what belongs to the end of a training
    return await leaveModel(`nothing to do: all ${steps} steps of this run are done`);
  }
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
  await leaveModel(`saved ${run.model}`);

  async function leaveModel(message: string): Promise<void> {
    await saveTensors(run.model, parts.weights.contents());
    console.error(message);
  }
}

/** The version whose runs have no run.json. */
const FIRST_VERSION = '0.1.0';

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

/** Tells on stderr how many of `rows` rows of the data lost what, as in `cut to fit: prompts of 12, responses of 3 of 400 rows`. */
export function noteCut(cut: Readonly<Record<string, number>>, rows: number): void {
  const parts = Object.entries(cut).filter(([, count]) => count > 0);
  if (parts.length === 0) return;
  const counts = parts.map(([what, count]) => `${what} of ${count.toLocaleString('en-US')}`).join(', ');
  console.error(`cut to fit: ${counts} of ${rows.toLocaleString('en-US')} rows`);
}

/** Tells on stderr which rows of a file are not used, the first of them by name. */
export function noteSkipped(skipped: readonly Skipped[]): void {
  const [first] = skipped;
  if (first === undefined) return;
  const rows = skipped.length === 1 ? '1 row is' : `${skipped.length} rows are`;
  console.error(`${rows} not used, the first ${first.place}: ${first.reason}`);
}
