/** The runs that are being watched: read again and again, with news for all who listen. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PalmError } from '../errors.ts';
import { JOURNAL_FILE, type Reached, reachedIn } from '../sweep/journal.ts';
import { type RunNews, WatchedRun } from './watched-run.ts';

/** Milliseconds between two looks at the files. */
const EVERY_MS = 500;
/** The most runs of a sweep that are shown. */
const MOST_TRIALS = 200;

/** What a sweep says of one of its runs. */
export interface TrialFacts {
  parameters: Readonly<Record<string, unknown>>;
  value: number | undefined;
  failed: string | undefined;
}

/** Follows run folders, and those of the trials of sweeps. */
export class Watcher {
  readonly #sweeps: readonly string[];
  readonly #runs = new Map<string, WatchedRun>();
  readonly #listeners = new Set<(news: ReadonlySet<RunNews>) => void>();
  #version = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /** `folders` are those of runs, which need not exist yet, or of sweeps. */
  constructor(folders: readonly string[]) {
    this.#sweeps = folders.filter((folder) => existsSync(join(folder, JOURNAL_FILE))).map((folder) => resolve(folder));
    for (const folder of folders) if (!this.#sweeps.includes(resolve(folder))) this.#add(folder);
    this.#findTrials();
  }

  /** Whether the runs are the trials of a sweep. */
  get isSweep(): boolean {
    return this.#sweeps.length > 0;
  }

  /** All runs, always in the same order. */
  get runs(): readonly WatchedRun[] {
    return [...this.#runs.values()];
  }

  /** Changes whenever something is new. */
  get version(): number {
    return this.#version;
  }

  /** Looks at the files again and again, until `stop`. */
  start(): void {
    const look = async () => {
      await this.advance();
      if (!this.#stopped) this.#timer = setTimeout(() => void look(), EVERY_MS);
    };
    void look();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Looks at the files once, and tells who listens. */
  async advance(): Promise<void> {
    this.#findTrials();
    const news = new Set<RunNews>();
    for (const run of this.runs) for (const each of await run.advance()) news.add(each);
    if (news.size === 0) return;
    this.#version++;
    for (const listener of this.#listeners) listener(news);
  }

  /** News from now on until `signal` is aborted, several at once if they come faster than they are taken. */
  news(signal: AbortSignal): AsyncGenerator<ReadonlySet<RunNews>> {
    const inbox: Inbox = { news: new Set(), wake: () => {} };
    const listener = (news: ReadonlySet<RunNews>) => {
      inbox.news = new Set([...inbox.news, ...news]);
      inbox.wake();
    };
    const leave = () => {
      this.#listeners.delete(listener);
      inbox.wake();
    };
    this.#listeners.add(listener);
    signal.addEventListener('abort', leave, { once: true });
    return taken(inbox, signal, leave);
  }

  /** What the journals of the sweeps say of their runs, by the folders of these. */
  trials(): Map<string, TrialFacts> {
    const found = new Map<string, TrialFacts>();
    for (const sweep of this.#sweeps) {
      for (const reached of reachedOf(sweep)) {
        const run = this.runs.find(({ folder, name }) => dirname(folder) === sweep && isTrial(name, reached));
        const { parameters = {}, value, failed } = reached;
        if (run !== undefined) found.set(run.folder, { parameters: { ...parameters }, value, failed });
      }
    }
    return found;
  }

  #add(folder: string): void {
    const path = resolve(folder);
    if (!this.#runs.has(path)) this.#runs.set(path, new WatchedRun(path));
  }

  #findTrials(): void {
    for (const sweep of this.#sweeps) {
      const names = readdirSync(sweep).filter((name) => /^trial-\d+(-\d+)?$/.test(name));
      for (const name of names.sort().slice(0, MOST_TRIALS)) this.#add(join(sweep, name));
    }
  }
}

/** What the journal of a sweep says, or nothing where it is damaged: its runs are shown anyway. */
function reachedOf(sweep: string): ReturnType<typeof reachedIn> {
  try {
    return reachedIn(sweep);
  } catch (error) {
    if (error instanceof PalmError) return [];
    throw error;
  }
}

/** Whether a folder is that of a trial's run: `trial-003`, or `trial-003-2` where there are several. */
function isTrial(name: string, { trial, repeat }: Reached): boolean {
  const [, number, own = '1'] = /^trial-(\d+)(?:-(\d+))?$/.exec(name) ?? [];
  return Number(number) === trial && Number(own) === repeat;
}

/** News that nobody has taken yet, and how to tell who waits for them. */
interface Inbox {
  news: ReadonlySet<RunNews>;
  wake: () => void;
}

/** What arrives in `inbox`, until `signal` is aborted. */
async function* taken(inbox: Inbox, signal: AbortSignal, leave: () => void): AsyncGenerator<ReadonlySet<RunNews>> {
  try {
    while (!signal.aborted) {
      const { news } = inbox;
      inbox.news = new Set();
      if (news.size > 0) yield news;
      else {
        await new Promise<void>((resolve) => {
          inbox.wake = resolve;
        });
      }
    }
  } finally {
    leave();
  }
}
