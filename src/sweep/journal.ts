/**
 * sweep.jsonl, the journal of a sweep: its settings, the reward modules, and what its runs reached, one a line. Lines are only added, so
 * a sweep that was interrupted goes on with what they say.
 */
import { existsSync } from 'node:fs';
import { appendFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { readWholeText } from '../files/regular-file.ts';

export const JOURNAL_FILE = 'sweep.jsonl';

/** The settings that a sweep began with: its own, and those of its first run. */
export interface Beginning {
  version: string;
  config: Record<string, unknown>;
  settings: Record<string, unknown>;
}

/** What a run reached: its value of the metric over the steps of a rung, or why it failed. */
export interface Reached {
  trial: number;
  /** Which of the trial's runs it is, from 1. */
  repeat: number;
  rung: number;
  /** Steps that were done, and whether the run has ended there. */
  step?: number;
  ended?: boolean;
  value?: number;
  failed?: string;
}

type Line = { sweep: Beginning } | { module: string; sha256: string } | (Reached & { parameters?: object });

/** The journal of the sweep in a folder. */
export class Journal {
  readonly #path: string;
  /** Undefined if the sweep has not begun. */
  readonly beginning: Beginning | undefined;
  /** Hashes of reward modules by their paths. */
  readonly modules = new Map<string, string>();
  readonly #reached = new Map<string, Reached>();

  private constructor(path: string, lines: readonly Line[]) {
    this.#path = path;
    for (const line of lines) this.#take(line);
    const [first] = lines;
    this.beginning = first !== undefined && 'sweep' in first ? first.sweep : undefined;
  }

  /**
   * Reads the journal in `folder`, which may have none yet. A last line that is incomplete, left by a killed process, is removed.
   * @throws FileError if it cannot be read or changed.
   * @throws DataError naming `file:line` for other content.
   */
  static async open(folder: string): Promise<Journal> {
    const path = join(folder, JOURNAL_FILE);
    if (!existsSync(path)) return new Journal(path, []);
    const { lines, whole, bytes } = read(path);
    if (whole < bytes) await truncate(path, whole);
    return new Journal(path, lines);
  }

  /** What a run reached at a rung, if it did. */
  at(trial: number, repeat: number, rung: number): Reached | undefined {
    return this.#reached.get(`${trial} ${repeat} ${rung}`);
  }

  /** Adds a line, which is on disk when this resolves. @throws FileError */
  async add(line: Line): Promise<void> {
    try {
      await appendFile(this.#path, `${JSON.stringify(line)}\n`, { flush: true });
    } catch (error) {
      throw asFileError(error, this.#path, 'a file to append to');
    }
    this.#take(line);
  }

  #take(line: Line): void {
    if ('module' in line) this.modules.set(line.module, line.sha256);
    if ('trial' in line) this.#reached.set(`${line.trial} ${line.repeat} ${line.rung}`, line);
  }
}

/** What the runs of the sweep in `folder` have reached so far, in the order of the journal. @throws the errors of `Journal.open`. */
export function reachedIn(folder: string): (Reached & { parameters?: object })[] {
  return read(join(folder, JOURNAL_FILE)).lines.filter((line) => 'trial' in line);
}

/** The whole lines of a journal, with the bytes that they have, and those of the file. */
function read(path: string): { lines: Line[]; whole: number; bytes: number } {
  const text = readWholeText(path, { expected: 'the journal of a sweep', most: 2 ** 28 });
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  const lines = whole.split('\n').slice(0, -1);
  return {
    lines: lines.map((line, i) => parse(line, `${path}:${i + 1}`, i === 0)),
    ...{ whole: Buffer.byteLength(whole), bytes: Buffer.byteLength(text) },
  };
}

function parse(text: string, place: string, first: boolean): Line {
  try {
    const line = Object(parseJson(text, 1_000_000)) as Record<string, unknown>;
    const known = 'sweep' in line || typeof line.module === 'string' || typeof line.trial === 'number';
    if (known && 'sweep' in line === first) return line as unknown as Line;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
  }
  throw new DataError({ argument: place, received: printable(text), expected: 'a line of the journal of a sweep' });
}
