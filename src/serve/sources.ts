/** The files and folders that a server's models come from: they are loaded at the start, and again when they change. */
import { statSync } from 'node:fs';
import { megabytes } from '../files/sizes.ts';
import { JUDGE_KINDS } from '../rewards/judge.ts';
import { MODEL_KINDS } from '../models/registry.ts';
import { findModelOf } from '../runs/model-file.ts';
import type { Catalog } from './catalog.ts';
import { type LoadSettings, load, weightFiles } from './load.ts';

/** A model as it was named to the server. */
export interface Source {
  place: string;
  name: string;
  settings: LoadSettings;
}

/** How long answers of replaced weights may go on, in milliseconds. */
const GRACE_MS = 600_000;

export class Sources {
  readonly #catalog: Catalog;
  readonly #sources: readonly Source[];
  /** The weights of each source as they were when they were loaded. */
  readonly #stamps = new Map<Source, string>();
  /** Why each source could not be replaced the last time. */
  readonly #told = new Map<Source, string>();
  readonly #say: (text: string) => void;
  #loading: Promise<void> = Promise.resolve();

  /** `say` is told of what was replaced, and of what could not be. */
  constructor(catalog: Catalog, sources: readonly Source[], say: (text: string) => void) {
    this.#catalog = catalog;
    this.#sources = sources;
    this.#say = say;
  }

  /** Loads all models. @throws what `load` throws */
  async load(): Promise<void> {
    for (const source of this.#sources) await this.#load(source);
  }

  /**
   * Replaces models by what is in their places now; with `changed` only those whose weights have changed. New requests get the new
   * weights, answers that have begun end with the old ones. A model that cannot be loaded, for want of memory too, stays as it is.
   */
  reload({ changed }: { changed: boolean }): Promise<void> {
    this.#loading = this.#loading.then(async () => {
      for (const source of this.#sources) await this.#reload(source, changed);
    });
    return this.#loading;
  }

  async #reload(source: Source, changed: boolean): Promise<void> {
    const { name } = source;
    try {
      if (changed && (await stampOf(source)).text === this.#stamps.get(source)) return;
      const bytes = await this.#load(source);
      this.#told.delete(source);
      this.#say(`${name}: replaced; ${megabytes(bytes)} of weights were loaded beside the old ones`);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      // Whoever looks again and again finds the same.
      if (!changed || this.#told.get(source) !== reason) this.#say(`${name}: not replaced: ${reason}`);
      this.#told.set(source, reason);
    }
  }

  async #load(source: Source): Promise<number> {
    const { place, name, settings } = source;
    // Before the weights: what changes while they are read is loaded the next time.
    const { text, bytes } = await stampOf(source);
    this.#stamps.set(source, text);
    this.#catalog.offer(name, await load(place, name, settings), GRACE_MS);
    return bytes;
  }
}

/** Tells weights from those that were there before, without reading them, and how large their files are. */
async function stampOf({ place, settings }: Source): Promise<{ text: string; bytes: number }> {
  const { path } = await findModelOf(place, [...MODEL_KINDS, ...JUDGE_KINDS], settings);
  const files = [path, ...Object.values(settings.adapters)]
    .flatMap(weightFiles)
    .map((file) => ({ file, ...statOf(file) }));
  return { text: JSON.stringify(files), bytes: files.reduce((sum, { size }) => sum + size, 0) };
}

function statOf(file: string) {
  const { size, mtimeMs } = statSync(file);
  return { size, mtimeMs };
}
