/** The folder of a run: config.json, metrics.jsonl, timing.jsonl, checkpoints/ and, once it is done, model.safetensors. */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ArgumentError, FileError } from '../errors.ts';
import { reasonOf } from '../file-error.ts';
import { makeFolder } from '../folder.ts';
import { METRICS_FILE, TIMING_FILE } from '../metrics/jsonl.ts';

/** The paths in a run directory. */
export interface RunDirectory {
  config: string;
  metrics: string;
  timing: string;
  checkpoints: string;
  model: string;
}

/** Where the run directory `out` keeps what; nothing is made. */
export function runDirectory(out: string): RunDirectory {
  return {
    config: join(out, 'config.json'),
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
  try {
    makeFolder(run.checkpoints);
    writeFileSync(`${run.config}.tmp`, `${JSON.stringify(config, null, 2)}\n`);
    renameSync(`${run.config}.tmp`, run.config);
  } catch (cause) {
    const expected = 'a folder that can be written';
    throw new FileError({ argument: `--out ${out}`, received: reasonOf(cause), expected, cause });
  }
  return run;
}

/** @throws ArgumentError when `out` has a run already, unless that is to be resumed. */
export function checkFree(out: string, resume: boolean): void {
  if (resume || !existsSync(runDirectory(out).config)) return;
  const fix = 'Add --resume to go on with it, or choose another folder.';
  throw new ArgumentError({ argument: `--out ${out}`, received: 'the folder of an earlier run', fix });
}
