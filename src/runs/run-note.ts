/**
 * run.json: hashes of the files that a run's configuration names. A path says nothing about the content, so a resumed
 * run compares hashes. Runs of 0.1.0 have no such file.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { JsonError, parseJson } from '../files/json.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { readWholeText } from '../files/regular-file.ts';
import { isFolder } from './model-place.ts';

const fingerprint = z.object({ path: z.string(), bytes: z.int().min(0), sha256: z.string() });
const runNote = z.object({
  /** The version that started the run. */
  version: z.string(),
  /** The hash of the tokenizer. */
  tokenizer: z.string(),
  /** The files that affect the results, by the option that names them. */
  inputs: z.record(z.string(), fingerprint),
  /** Numbers of data rows that were used, held out and truncated. */
  rows: z.record(z.string(), z.number()).optional(),
  /** The number of steps that the run is to have, unless something ends it before. */
  steps: z.int().min(0).optional(),
});

/** The content of run.json. */
export type RunNote = z.output<typeof runNote>;

/** The inputs of a run that are recorded. */
export interface Noted {
  tokenizer: Pick<Tokenizer, 'hash'>;
  /** The files that affect the results, by the option that names them. */
  inputs: Readonly<Record<string, string | readonly string[] | undefined>>;
  rows?: Readonly<Record<string, number>> | undefined;
  /** The number of steps that the run is to have. */
  steps?: number | undefined;
}

/** Reads the note at `path`; undefined for runs of 0.1.0. @throws FileError if it is damaged. */
export function readNote(path: string): RunNote | undefined {
  if (!existsSync(path)) return undefined;
  const expected = 'the record of a run (run.json)';
  try {
    const { data } = runNote.safeParse(parseJson(readWholeText(path, { expected, most: 2 ** 20 }), 10_000));
    if (data !== undefined) return data;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
  }
  throw new FileError({
    argument: path,
    received: 'other content',
    expected,
    fix: 'Restore the file, or copy the run again.',
  });
}

/** The note of a run started by `version` that uses these files. @throws FileError if one is unreadable. */
export async function noteOf({ tokenizer, inputs, rows, steps }: Noted, version: string): Promise<RunNote> {
  const found: RunNote['inputs'] = {};
  for (const [name, paths] of Object.entries(inputs)) {
    if (paths !== undefined) found[name] = await fingerprintOf([paths].flat());
  }
  return { version, tokenizer: tokenizer.hash, inputs: found, rows, steps };
}

/** One fingerprint of all files, in their order. */
async function fingerprintOf(paths: readonly string[]): Promise<z.output<typeof fingerprint>> {
  const hash = createHash('sha256');
  let bytes = 0;
  for (const path of paths.flatMap(filesAt)) {
    try {
      for await (const piece of createReadStream(path)) {
        hash.update(piece as Buffer);
        bytes += (piece as Buffer).length;
      }
    } catch (error) {
      throw asFileError(error, path, 'a readable file');
    }
  }
  return { path: paths.join(', '), bytes, sha256: hash.digest('hex') };
}

/** The files of a model's folder that a run depends on, or the file itself. */
function filesAt(path: string): string[] {
  if (!isFolder(path)) return [path];
  const names = readdirSync(path).filter((name) =>
    /^(config|generation_config)\.json$|\.(safetensors|bin)$/.test(name),
  );
  return names.sort().map((name) => join(path, name));
}

/** Whether a path names a reward module, by its ending. */
export function isModule(path: string): boolean {
  return /\.[mc]?[jt]s$/.test(path);
}

/** The reward modules of a run, each with its path and the start of its hash. */
export function modulesOf({ inputs }: RunNote): string[] {
  const modules = Object.entries(inputs).filter(([, { path }]) => isModule(path));
  return modules.map(([name, { path, sha256 }]) => `${name}: ${path} (sha256 ${sha256.slice(0, 12)})`);
}

/** @throws ArgumentError if a reward module has another content, or is another one: the run would learn something else. */
function checkModules(then: RunNote, now: RunNote): void {
  for (const name of Object.keys({ ...then.inputs, ...now.inputs })) {
    const [before, after] = [then.inputs[name], now.inputs[name]];
    const isCode = [before, after].some((file) => file !== undefined && isModule(file.path));
    if (!isCode || before?.sha256 === after?.sha256) continue;
    const [received, expected] = [after, before].map((file) =>
      file === undefined ? 'none' : `${file.path} (sha256 ${file.sha256.slice(0, 12)})`,
    );
    const fix = 'Restore the module, or start another run, with --model and the folder of this one.';
    throw new ArgumentError({ argument: `--${name}`, received, expected: `${expected}, as when the run started`, fix });
  }
}

/**
 * Describes what changed since the run was last started.
 * @throws ArgumentError for another tokenizer, which would give the weights a different meaning.
 * @throws ArgumentError for another reward module.
 */
export function changesSince(then: RunNote, now: RunNote): string[] {
  if (then.tokenizer !== now.tokenizer) {
    const fix = 'Leave out --tokenizer: the run has its own copy.';
    const expected = 'the one the run started with';
    throw new ArgumentError({ argument: '--tokenizer', received: 'a different tokenizer', expected, fix });
  }
  checkModules(then, now);
  const names = Object.keys(now.inputs).filter((name) => {
    return then.inputs[name] !== undefined && then.inputs[name].sha256 !== now.inputs[name]?.sha256;
  });
  return names.map((name) => {
    const [before, after] = [then.inputs[name], now.inputs[name]].map((file) => `${file?.path}, ${file?.bytes} bytes`);
    const what =
      name === 'model' ? "the checkpoint's weights are used instead" : 'reading continues at the same position';
    return `${name}: the content has changed since the run started (${before}; now ${after}); ${what}`;
  });
}

type Settings = Readonly<Record<string, unknown>>;

/** Describes the settings that differ from those of the run so far; nested keys are dotted. */
export function settingsChanged(then: Settings, now: Settings, ignored: readonly string[]): string[] {
  return differences(then, now)
    .filter(({ name }) => !ignored.includes(name))
    .map(({ name, before, after }) => `${name}: changed from ${before} to ${after}`);
}

/** Settings of a model that its weights do not depend on. */
const FREE = ['model.attnDropout', 'model.ffDropout', 'model.recompute'];

/** @throws ArgumentError for a setting of a resumed run that the checkpoint's weights do not fit, or with which they mean something else. */
export function checkSameModel(then: Settings, now: Settings): void {
  const fixed = ({ name }: Difference) =>
    /^(model\.|dtype$|lora$|pooling$|(optimisation\.)?numLayersUnfrozen$)/.test(name) && !FREE.includes(name);
  const found = differences(then, now).find(fixed);
  if (found === undefined) return;
  const { name, before, after } = found;
  const expected = `${before}, as when the run started`;
  const fix = `Leave out --${name}, or start another run with another --out.`;
  throw new ArgumentError({ argument: `--${name}`, received: after, expected, fix });
}

/** A setting whose value differs, with both values as text. */
interface Difference {
  name: string;
  before: string;
  after: string;
}

function differences(then: Settings, now: Settings): Difference[] {
  const [before, after] = [flat(then), flat(now)];
  const names = [...new Set([...before.keys(), ...after.keys()])];
  const changed = names.filter((name) => JSON.stringify(before.get(name)) !== JSON.stringify(after.get(name)));
  return changed.map((name) => ({ name, before: shown(before.get(name)), after: shown(after.get(name)) }));
}

function shown(value: unknown): string {
  return value === undefined ? 'nothing' : printable(value);
}

function flat(settings: Settings, prefix = ''): Map<string, unknown> {
  const entries = Object.entries(settings).flatMap(([key, value]): [string, unknown][] => {
    const nests = typeof value === 'object' && value !== null && !Array.isArray(value);
    return nests ? [...flat(value as Settings, `${prefix}${key}.`)] : [[prefix + key, value]];
  });
  return new Map(entries);
}
