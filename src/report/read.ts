/** Reads what a report shows of a run. */
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { DataError, FileError, printable } from '../errors.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { readWholeText } from '../files/regular-file.ts';
import type { Sample } from '../metrics/metrics.ts';
import { runDirectory } from '../runs/run-directory.ts';
import { readNote, type RunNote } from '../runs/run-note.ts';
import type { Point } from './curve.ts';

/** A run as a report shows it. */
export interface ReportRun {
  /** The name of its folder. */
  name: string;
  /** Its configuration by dotted key. */
  config: ReadonlyMap<string, string>;
  /** Undefined for runs of 0.1.0. */
  note: RunNote | undefined;
  /** The curves of its metrics, times and speeds. */
  metrics: ReadonlyMap<string, readonly Point[]>;
  samples: readonly (Sample & { step: number })[];
  /** The step whose model was kept as the best, and its metric; undefined if none was. */
  best: { step: number; metric: string } | undefined;
}

type Json = Record<string, unknown>;

/** The most bytes of a file: more does not fit into a string. */
const MOST = 2 ** 29 - 24;

/**
 * Reads the run in `folder`. A last line that is incomplete, because the run is being written, is left out.
 * @throws FileError if it is not the folder of a run, or cannot be read.
 * @throws DataError naming `file:line` for other damage.
 */
export function readRun(folder: string): ReportRun {
  const run = runDirectory(folder);
  if (!existsSync(run.metrics)) {
    const expected = 'the folder of a run';
    throw new FileError({ argument: folder, received: 'a folder without metrics.jsonl', expected });
  }
  const metrics = new Map<string, Point[]>();
  for (const row of [...readLines(run.metrics), ...readLines(run.timing)]) {
    const { step, ...values } = row;
    for (const [name, value] of Object.entries(values)) {
      const points = metrics.get(name) ?? [];
      metrics.set(name, points);
      points.push({ step: step as number, value: typeof value === 'number' ? value : null });
    }
  }
  const config = readConfig(run.config);
  // The metric `best` marks the steps that were the best so far.
  const bestStep = metrics.get('best')?.at(-1)?.step;
  metrics.delete('best');
  const metric = config.get('evaluation.keepBest');
  return {
    name: basename(resolve(folder)),
    config,
    note: readNote(run.note),
    metrics,
    samples: readLines(run.samples) as unknown as ReportRun['samples'],
    best: bestStep === undefined || metric === undefined ? undefined : { step: bestStep, metric },
  };
}

/** The settings of a run by dotted keys; none if there is no such file. @throws DataError and FileError as `readRun` does. */
export function readConfig(path: string): ReadonlyMap<string, string> {
  return new Map(existsSync(path) ? flat(readObject(path)) : []);
}

function readLines(path: string): Json[] {
  if (!existsSync(path)) return [];
  const text = readWholeText(path, { expected: 'a readable JSONL file', most: MOST });
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .slice(0, -1)
    .map((line, i) => {
      const row = parse(line, `${path}:${i + 1}`);
      if (Number.isSafeInteger(row.step)) return row;
      throw new DataError({
        argument: `${path}:${i + 1}`,
        received: printable(line),
        expected: 'an object with a step',
      });
    });
}

function readObject(path: string): Json {
  return parse(readWholeText(path, { expected: 'a readable JSON file', most: 2 ** 20 }), path);
}

function parse(text: string, place: string): Json {
  try {
    const value = parseJson(text, 1_000_000);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
  }
  throw new DataError({ argument: place, received: printable(text), expected: 'a JSON object' });
}

function flat(object: Json, prefix = ''): [string, string][] {
  return Object.entries(object).flatMap(([key, value]): [string, string][] => {
    const nests = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (nests) return flat(value as Json, `${prefix}${key}.`);
    return [[prefix + key, typeof value === 'string' ? value : JSON.stringify(value)]];
  });
}
