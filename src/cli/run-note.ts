/**
 * run.json: what a run found where its configuration names files. A path says nothing of a content, so a run that is resumed
 * compares hashes; one of 0.1.0 has no such file.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { z } from 'zod';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { JsonError, parseJson } from '../files/json.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { readWholeText } from '../files/regular-file.ts';

const fingerprint = z.object({ path: z.string(), bytes: z.int().min(0), sha256: z.string() });
const runNote = z.object({
  /** The version that began the run. */
  version: z.string(),
  /** The hash of the tokenizer. */
  tokenizer: z.string(),
  /** The files that decide the numbers, by the option that names them. */
  inputs: z.record(z.string(), fingerprint),
  /** How many rows of the data were used, held out, cut. */
  rows: z.record(z.string(), z.number()).optional(),
});

/** What run.json holds. */
export type RunNote = z.output<typeof runNote>;

/** What a run works with, as far as it is noted. */
export interface Noted {
  tokenizer: Pick<Tokenizer, 'hash'>;
  /** The files that decide the numbers, by the option that names them. */
  inputs: Readonly<Record<string, string | undefined>>;
  rows?: Readonly<Record<string, number>> | undefined;
}

/** The note in the file `path`; undefined in runs of 0.1.0. @throws FileError for a damaged one. */
export function readNote(path: string): RunNote | undefined {
  if (!existsSync(path)) return undefined;
  const expected = 'the note of a run';
  try {
    const { data } = runNote.safeParse(parseJson(readWholeText(path, { expected, most: 2 ** 20 }), 10_000));
    if (data !== undefined) return data;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
  }
  throw new FileError({ argument: path, received: 'something else', expected, fix: 'Copy the run again.' });
}

/** The note of a run that `version` began and that works with these files. @throws FileError for one that is unreadable. */
export async function noteOf({ tokenizer, inputs, rows }: Noted, version: string): Promise<RunNote> {
  const found: RunNote['inputs'] = {};
  for (const [name, path] of Object.entries(inputs)) {
    if (path !== undefined) found[name] = await fingerprintOf(path);
  }
  return { version, tokenizer: tokenizer.hash, inputs: found, rows };
}

async function fingerprintOf(path: string): Promise<z.output<typeof fingerprint>> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const piece of createReadStream(path)) {
      hash.update(piece as Buffer);
      bytes += (piece as Buffer).length;
    }
  } catch (error) {
    throw asFileError(error, path, 'a readable file');
  }
  return { path, bytes, sha256: hash.digest('hex') };
}

/**
 * In words what is other than when the run was last started.
 * @throws ArgumentError for another tokenizer, with which the weights would mean something else.
 */
export function changesSince(then: RunNote, now: RunNote): string[] {
  if (then.tokenizer !== now.tokenizer) {
    const fix = 'Leave out --tokenizer: the run has its own copy.';
    const expected = 'the one that the run began with';
    throw new ArgumentError({ argument: '--tokenizer', received: 'another tokenizer', expected, fix });
  }
  const names = Object.keys(now.inputs).filter((name) => {
    return then.inputs[name] !== undefined && then.inputs[name].sha256 !== now.inputs[name]?.sha256;
  });
  return names.map((name) => {
    const [before, after] = [then.inputs[name], now.inputs[name]].map((file) => `${file?.path}, ${file?.bytes} bytes`);
    const what = name === 'model' ? "the checkpoint's weights go before it" : 'it goes on at the same place in it';
    return `${name}: not the content that the run has had so far (${before}; now ${after}), and ${what}`;
  });
}

type Settings = Readonly<Record<string, unknown>>;

/** In words which settings are other than those that the run has had so far; keys that nest are dotted. */
export function settingsChanged(then: Settings, now: Settings, ignored: readonly string[]): string[] {
  const [before, after] = [flat(then), flat(now)];
  const names = [...new Set([...before.keys(), ...after.keys()])].filter((name) => !ignored.includes(name));
  const changed = names.filter((name) => JSON.stringify(before.get(name)) !== JSON.stringify(after.get(name)));
  return changed.map((name) => `${name}: ${shown(after.get(name))} from here on, ${shown(before.get(name))} so far`);
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
