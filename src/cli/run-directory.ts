/** The folder of a run: config.json, metrics.jsonl, timing.jsonl and checkpoints/. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ArgumentError, FileError } from '../errors.ts';

/** The paths in a run directory. */
export interface RunDirectory {
  config: string;
  metrics: string;
  timing: string;
  checkpoints: string;
}

/** Where a run directory keeps its configuration. */
export function savedConfigPath(out: string): string {
  return join(out, 'config.json');
}

/**
 * Makes the run directory `out`, or takes the one that is there when resuming, and saves `config` in it.
 * @throws ArgumentError when there is a run already and `resume` is false, FileError when it cannot be written
 */
export function openRun(out: string, config: object, resume: boolean): RunDirectory {
  const path = savedConfigPath(out);
  if (!resume && existsSync(path)) {
    const fix = 'Add --resume to go on with it, or choose another folder.';
    throw new ArgumentError({ argument: `--out ${out}`, received: 'the folder of an earlier run', fix });
  }
  const checkpoints = join(out, 'checkpoints');
  try {
    mkdirSync(checkpoints, { recursive: true });
    writeFileSync(`${path}.tmp`, `${JSON.stringify(config, null, 2)}\n`);
    renameSync(`${path}.tmp`, path);
  } catch (cause) {
    const received = `the error ${(cause as NodeJS.ErrnoException).code}`;
    throw new FileError({ argument: `--out ${out}`, received, expected: 'a folder that can be written', cause });
  }
  return { config: path, metrics: join(out, 'metrics.jsonl'), timing: join(out, 'timing.jsonl'), checkpoints };
}
