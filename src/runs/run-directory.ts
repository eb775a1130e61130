/**
 * The folder of a run: config.json, run.json, the tokenizer, metrics.jsonl, timing.jsonl, checkpoints/ and, once it is done,
 * model.safetensors.
 */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ArgumentError, FileError } from '../errors.ts';
import { asFileError, reasonOf } from '../files/file-error.ts';
import { makeFolder } from '../files/folder.ts';
import { METRICS_FILE, TIMING_FILE } from '../metrics/jsonl.ts';

/** The paths in a run directory. */
export interface RunDirectory {
  config: string;
  note: string;
  tokenizer: string;
  metrics: string;
  timing: string;
  checkpoints: string;
  model: string;
}

/** Where the run directory `out` keeps what; nothing is made. */
export function runDirectory(out: string): RunDirectory {
  return {
    config: join(out, 'config.json'),
    note: join(out, 'run.json'),
    tokenizer: join(out, 'tokenizer.json'),
    metrics: join(out, METRICS_FILE),
    timing: join(out, TIMING_FILE),
    checkpoints: join(out, 'checkpoints'),
    model: join(out, 'model.safetensors'),
  };
}

/**
 * Makes the run directory `out`, or takes the one that is there when resuming, and saves `config` in it.
 * @throws ArgumentError when there is a run already and `resume` is false, FileError when it cannot be written
 */
export function openRun(out: string, config: object, resume: boolean): RunDirectory {
  checkFree(out, resume);
  const run = runDirectory(out);
  makeOut(out);
  replaceJson(run.config, config);
  return run;
}

/** Makes the folder of a run: what keeps it from being written shall be known before a model is made. @throws FileError */
export function makeOut(out: string): void {
  try {
    makeFolder(runDirectory(out).checkpoints);
  } catch (cause) {
    const expected = 'a folder that can be written';
    throw new FileError({ argument: `--out ${out}`, received: reasonOf(cause), expected, cause });
  }
}

/** Writes `value` to `path`, which holds the old text or all of the new one. @throws FileError */
export function replaceJson(path: string, value: object): void {
  try {
    writeFileSync(`${path}.tmp`, `${JSON.stringify(value, null, 2)}\n`);
    renameSync(`${path}.tmp`, path);
  } catch (error) {
    throw asFileError(error, path, 'a file to write to');
  }
}

/** @throws ArgumentError when `out` has a run already, unless that is to be resumed. */
export function checkFree(out: string, resume: boolean): void {
  if (resume || !existsSync(runDirectory(out).config)) return;
  const fix = 'Add --resume to go on with it, or choose another folder.';
  throw new ArgumentError({ argument: `--out ${out}`, received: 'the folder of an earlier run', fix });
}
