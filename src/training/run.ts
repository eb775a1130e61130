/**
 * What all training commands do around a trainer: write metrics, save checkpoints, resume, and save the final model.
 */
import {
  BOOLEAN,
  checkKind,
  checkKinds,
  COUNT,
  either,
  FUNCTION,
  having,
  LIST,
  optional,
  PATH,
  SIGNAL,
} from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { type Checkpoints, openCheckpoints } from '../checkpoint/checkpoints.ts';
import { endingsOf } from '../methods/endings.ts';
import type { Training } from '../methods/method.ts';
import { JsonlMetrics, truncateAfter } from '../metrics/jsonl.ts';
import { isEvaluation, type MetricsSink, splitStep, type StepMetrics } from '../metrics/metrics.ts';
import { keepTokenizer, withTokenizer } from '../runs/kept-tokenizer.ts';
import { openRun, replaceJson, runDirectory } from '../runs/run-directory.ts';
import { changesSince, modulesOf, noteOf, readNote } from '../runs/run-note.ts';
import { saveTensors } from '../tensor/tensor-files.ts';
import type { BestStep } from '../models/best-note.ts';
import { type Stopped, stoppedAt, untilEnding } from '../trainers/ending.ts';
import { Spikes } from '../trainers/spikes.ts';
import { packageVersion } from '../package.ts';
import { Anomalies } from './anomalies.ts';
import { HeldOutLoss, unfinishedWarmup } from './notes.ts';

/** Whether to resume a run: true for its newest complete checkpoint, or the path of a checkpoint. */
export type Resume = boolean | string;

/** How a training is run. */
export interface RunOptions {
  /** Defaults to false: the run folder must not hold a run yet. */
  resume?: Resume | undefined;
  /** When aborted, the run is saved after the current step, and the signal's reason is thrown. */
  signal?: AbortSignal | undefined;
  /** Get every step, besides the files of the run folder; closed at the end. */
  sinks?: readonly MetricsSink[] | undefined;
  /** Steps between the samples of methods that answer prompts in every step. Defaults to 10. */
  sampleEvery?: number | undefined;
  /** Called with lines of progress, and with problems that do not end the run. Both print to stderr by default. */
  say?: ((line: string) => void) | undefined;
  warn?: ((line: string) => void) | undefined;
  /** Called before the first step. `saveSoon` of its argument saves the run after the current step. */
  opened?: ((checkpoints: Checkpoints) => void) | undefined;
}

/** What a run left. */
export interface RunResult {
  /** The path of the model, as it was after the last step. */
  model: string;
  /** The number of steps that were done. */
  steps: number;
  /** The last values of all metrics. */
  metrics: Readonly<Record<string, number>>;
  /** Why the run ended before its last step; undefined if it did not. */
  stopped: Stopped | undefined;
  /** The best step, with the path of its model; undefined unless `evaluation.keepBest` is set. */
  best: (BestStep & { model: string }) | undefined;
}

const OPTIONS = {
  resume: optional(either(BOOLEAN, PATH)),
  signal: optional(SIGNAL),
  sinks: optional(LIST),
  sampleEvery: optional(COUNT),
  say: optional(FUNCTION),
  warn: optional(FUNCTION),
  opened: optional(FUNCTION),
};
const TRAINING = having('a training, from start() of an opened method', 'train');

/** @throws ArgumentError for an unknown or wrong option. */
export function checkRunOptions(options: RunOptions, name: string): void {
  checkOptions(options, Object.keys(OPTIONS), name);
  checkKinds(`${name} options`, options, OPTIONS);
}

/**
 * Runs `training` in the run folder of its configuration, until it ends or the signal stops it. Resuming continues from a
 * checkpoint as if the run had not been interrupted, or from the beginning if there is none.
 * @throws ArgumentError if the folder holds a run and `resume` is false.
 * @throws the errors of the trainer, and those of `openCheckpoints` and its result.
 */
export async function runTraining(training: Training, options: RunOptions = {}): Promise<RunResult> {
  checkRunOptions(options, 'runTraining');
  checkKind('training', training, TRAINING);
  const { resume = false, signal, sinks = [], sampleEvery = 10, opened } = options;
  const { say = (line) => console.error(line), warn = (line) => console.error(`warning: ${line}`) } = options;
  const { config, steps, train, tokenizer } = training;
  const run = runDirectory(config.out);
  say(sizesOf(training));
  for (const note of unfinishedWarmup(training)) say(note);
  const weights = withTokenizer(training.parts.weights, tokenizer);
  const endings = endingsOf(training, weights);
  using best = endings.best;
  const parts = { ...training.parts, weights, ...endings };
  const cut = async (step: number) => {
    for (const path of [run.metrics, run.timing, run.samples]) await truncateAfter(path, step);
  };
  const all: MetricsSink[] = [...sinks];
  const { spikes, ...saving } = config.checkpoint;
  await using checkpoints = await openCheckpoints({
    ...saving,
    watch: spikes && new Spikes(spikes),
    directory: run.checkpoints,
    parts,
    signal,
    rewind: cut,
    flush: async () => {
      for (const sink of all) await sink.flush?.();
    },
    warn,
  });
  const then = resume === false ? undefined : readNote(run.note);
  const now = await noteOf(training, resume === false ? packageVersion() : (then?.version ?? FIRST_VERSION));
  if (then !== undefined) changesSince(then, now).forEach(warn);
  for (const line of modulesOf(now)) say(line);
  // The configuration is saved only once the checkpoint is known to fit it.
  const start = resume === false ? 0 : await checkpoints.restore(resume === true ? undefined : resume);
  const ended = stoppedAt(start, steps, endings);
  await keepTokenizer(tokenizer, config.out);
  replaceJson(run.note, now);
  openRun(config.out, config, resume !== false);
  await cut(start);
  if (start >= steps || ended) {
    for await (const _ of train(steps, signal)); // no steps left: only the work at the end of training
    const why = ended
      ? `this run ended at step ${start}: ${ended.reason}`
      : `all ${steps} steps of this run are complete`;
    say(`nothing to do: ${why}`);
    return await finish({}, ended);
  }
  if (start > 0) say(`resuming from step ${start}`);

  all.unshift(new JsonlMetrics(config.out));
  const anomalies = new Anomalies(config.out, parts);
  const heldOut = new HeldOutLoss();
  const last: Record<string, number> = {};
  let done = start;
  opened?.(checkpoints);
  try {
    for await (const step of checkpoints.during((from) => untilEnding(train(from, signal), endings))) {
      done = step.step;
      const row = thinned({ ...step }, sampleEvery, steps);
      for (const sink of all) await sink.write(row);
      anomalies.watch(row);
      heldOut.watch(row);
      const { best: _, ...metrics } = splitStep(row).metrics;
      for (const [name, value] of Object.entries(metrics)) if (value !== undefined) last[name] = value;
    }
  } finally {
    for (const sink of all) await sink.close();
  }
  const stopped = stoppedAt(done, steps, endings);
  if (signal?.aborted && done < steps && stopped === undefined) throw signal.reason;
  if (stopped) say(`ended at step ${done} of ${steps}: ${stopped.reason}`);
  if (best === undefined) for (const note of heldOut.notes()) say(note);
  return await finish(last, stopped);

  async function finish(metrics: Record<string, number>, stopped: Stopped | undefined): Promise<RunResult> {
    await saveTensors(run.model, weights.contents());
    const found = best?.found && { ...best.found, model: run.best };
    if (best !== undefined && found !== undefined) await saveTensors(run.best, best.contents());
    return { model: run.model, steps: stopped?.step ?? steps, metrics, stopped, best: found };
  }
}

/** The version whose runs have no run.json. */
const FIRST_VERSION = '0.1.0';

/** The step without its samples, unless they are due: every so many steps, at evaluations and at the end. */
function thinned(row: StepMetrics, every: number, steps: number): StepMetrics {
  const { samples, ...others } = row;
  if (samples === undefined) return row;
  const due = row.step % every === 0 || row.step === steps || isEvaluation(splitStep(row).metrics);
  return due ? row : (others as StepMetrics);
}

/** As in `983,936 parameters, 1,003,855 tokens`. */
function sizesOf({ sizes }: Training): string {
  return Object.entries(sizes)
    .map(([name, size]) => `${size.toLocaleString('en-US')} ${name}`)
    .join(', ');
}
