/**
 * What all training commands do around a trainer: write metrics, save checkpoints, resume, and save the final model.
 */
import { openCheckpoints } from '../checkpoint/checkpoints.ts';
import type { Training } from '../methods/method.ts';
import { Spikes } from '../trainers/spikes.ts';
import { saveTensors } from '../tensor/tensor-files.ts';
import { ConsoleMetrics } from '../metrics/console.ts';
import { JsonlMetrics, truncateAfter } from '../metrics/jsonl.ts';
import { keepTokenizer, withTokenizer } from '../runs/model-file.ts';
import { openRun, replaceJson, runDirectory } from '../runs/run-directory.ts';
import { packageVersion } from '../version.ts';
import { Anomalies } from './anomalies.ts';
import { changesSince, noteOf, readNote } from './run-note.ts';
import { StopSignals } from './signals.ts';
import { warn } from './warn.ts';

/** Whether to resume a run: true for its newest complete checkpoint, or the path of a checkpoint. */
export type Resume = boolean | string;

/**
 * Runs `training` in the run folder of its configuration, until it ends or a signal stops it (signals.ts). Resuming
 * continues from a checkpoint as if the run had not been interrupted, or from the beginning if there is none.
 */
export async function runTraining(training: Training, resume: Resume): Promise<void> {
  const { config, steps, train, tokenizer } = training;
  const run = runDirectory(config.out);
  printSizes(training.sizes);
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
  // The configuration is saved only once the checkpoint is known to fit it.
  const start = resume === false ? 0 : await checkpoints.restore(resume === true ? undefined : resume);
  keepTokenizer(tokenizer, config.out);
  replaceJson(run.note, now);
  openRun(config.out, config, resume !== false);
  await cut(start);
  if (start >= steps) {
    for await (const _ of train(start, signals.stop)); // no steps left: only the work at the end of training
    return await saveModel(`nothing to do: all ${steps} steps of this run are complete`);
  }
  if (start > 0) console.error(`resuming from step ${start}`);

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
  await saveModel(`saved ${run.model}`);

  async function saveModel(message: string): Promise<void> {
    await saveTensors(run.model, parts.weights.contents());
    console.error(message);
  }
}

/** The version whose runs have no run.json. */
const FIRST_VERSION = '0.1.0';

/** Prints sizes to stderr, as in `983,936 parameters, 1,003,855 tokens`. */
function printSizes(sizes: Readonly<Record<string, number>>): void {
  console.error(
    Object.entries(sizes)
      .map(([name, size]) => `${size.toLocaleString('en-US')} ${name}`)
      .join(', '),
  );
}
