/**
 * The run folder: config.json, run.json, the tokenizer, metrics.jsonl, timing.jsonl, samples.jsonl, checkpoints/ and, once the run is
 * complete, model.safetensors, and best.safetensors if the best step is kept.
 */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ArgumentError, FileError } from '../errors.ts';
import { asFileError, reasonOf } from '../files/file-error.ts';
import { makeFolder } from '../files/folder.ts';
import { METRICS_FILE, SAMPLES_FILE, TIMING_FILE } from '../metrics/jsonl.ts';

/** The paths in a run folder. */
export interface RunDirectory {
  config: string;
  note: string;
  tokenizer: string;
  metrics: string;
  timing: string;
  samples: string;
  checkpoints: string;
  model: string;
  best: string;
}

/** The paths in the run folder `out`; creates nothing. */
export function runDirectory(out: string): RunDirectory {
  return {
    config: join(out, 'config.json'),
    note: join(out, 'run.json'),
    tokenizer: join(out, 'tokenizer.json'),
    metrics: join(out, METRICS_FILE),
    timing: join(out, TIMING_FILE),
    samples: join(out, SAMPLES_FILE),
    checkpoints: join(out, 'checkpoints'),
    model: join(out, 'model.safetensors'),
    best: join(out, 'best.safetensors'),
  };
}

/**
 * Creates the run folder `out`, or reuses it when resuming, and saves `config` in it.
 * @throws ArgumentError if there is a run already and `resume` is false.
 * @throws FileError if it cannot be written.
 */
export function openRun(out: string, config: object, resume: boolean): RunDirectory {
  checkFree(out, resume);
  const run = runDirectory(out);
  makeOut(out);
  replaceJson(run.config, config);
  return run;
}

/** Creates the run folder, so that an unwritable path fails before a model is created. @throws FileError */
export function makeOut(out: string): void {
  try {
    makeFolder(runDirectory(out).checkpoints);
  } catch (cause) {
    const [received, expected] = [reasonOf(cause), 'a folder to write to'];
    throw new FileError({
      argument: `--out ${out}`,
      problem: `cannot be written (${received})`,
      received,
      expected,
      cause,
    });
  }
}

/** Writes `value` to `path` atomically: the file holds either the old text or all of the new one. @throws FileError */
export function replaceJson(path: string, value: object): void {
  try {
    writeFileSync(`${path}.tmp`, `${JSON.stringify(value, null, 2)}\n`);
    renameSync(`${path}.tmp`, path);
  } catch (error) {
    throw asFileError(error, path, 'a file to write to');
  }
}

/** @throws ArgumentError if `out` already holds a run that is not to be resumed. */
export function checkFree(out: string, resume: boolean): void {
  if (resume || !existsSync(runDirectory(out).config)) return;
  const fix = 'Add --resume to continue it, or choose another folder.';
  throw new ArgumentError({ argument: `--out ${out}`, problem: 'already holds a run', fix });
}
