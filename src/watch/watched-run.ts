/** A run folder that is being watched: what is known of it so far, and what is new. */
import { readdirSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { PalmError } from '../errors.ts';
import { isLocked } from '../files/lock.ts';
import type { Sample } from '../metrics/metrics.ts';
import { readConfig } from '../report/read.ts';
import { type RunDirectory, runDirectory } from '../runs/run-directory.ts';
import { readNote } from '../runs/run-note.ts';
import { FollowedFile } from './follow.ts';
import { MetricLines } from './metric-lines.ts';
import { type KnownSample, readSample, SampleLines } from './sample-lines.ts';
import type { Series } from './series.ts';

/** Where a run stands: nothing there yet, going on, left before its end, or at its end. */
export type RunState = 'waiting' | 'running' | 'stopped' | 'ended';

/** What the head of a page says of a run. */
export interface RunFacts {
  name: string;
  state: RunState;
  step: number;
  /** The number of steps that the run is to have; undefined if its folder does not say. */
  steps: number | undefined;
  /** Seconds of the remaining steps at the mean speed so far; undefined unless the run goes on. */
  remaining: number | undefined;
  tokensPerSecond: number | undefined;
  /** The step of the newest checkpoint. */
  checkpoint: number | undefined;
  /** The best step so far, and its metric, if the run keeps the best. */
  best: { step: number; metric: string } | undefined;
  /** What could not be read. */
  problems: readonly string[];
}

/** What is new of a run. */
export type RunNews = 'step' | 'sample' | 'restart' | 'state';

/** A run in a folder, which need not exist yet. */
export class WatchedRun {
  readonly name: string;
  readonly folder: string;
  readonly #files: RunDirectory;
  readonly #metrics = new MetricLines();
  readonly #timing = new MetricLines();
  readonly #samples = new SampleLines();
  readonly #followed: readonly [FollowedFile, RunNews][];
  #problem: string | undefined;
  #state: RunState = 'waiting';

  constructor(folder: string) {
    this.folder = resolve(folder);
    this.name = basename(this.folder);
    this.#files = runDirectory(this.folder);
    this.#followed = [
      [new FollowedFile(this.#files.metrics, this.#metrics), 'step'],
      [new FollowedFile(this.#files.timing, this.#timing), 'step'],
      [new FollowedFile(this.#files.samples, this.#samples), 'sample'],
    ];
  }

  /** Reads what is new in the folder. What cannot be read is told by `facts`, and tried again by the next call. */
  async advance(): Promise<Set<RunNews>> {
    const news = new Set<RunNews>();
    const before = this.#problem;
    this.#problem = undefined;
    for (const [file, name] of this.#followed) {
      try {
        const { read, again } = await file.advance();
        if (again) news.add('restart');
        if (read > 0) news.add(name);
      } catch (error) {
        if (!(error instanceof PalmError)) throw error;
        this.#problem = error.message;
      }
    }
    const state = await this.#stateNow();
    if (state !== this.#state || this.#problem !== before) news.add('state');
    this.#state = state;
    return news;
  }

  /** Metrics, times and speeds, by their names. */
  get series(): ReadonlyMap<string, Series> {
    const all = new Map([...this.#metrics.series, ...this.#timing.series]);
    all.delete('best'); // it marks steps, and is no number to draw
    return all;
  }

  get samples(): SampleLines {
    return this.#samples;
  }

  /** The whole of an answer, from its file; undefined if the run has been cut back to before it. */
  async sample(known: KnownSample): Promise<Sample | undefined> {
    return await readSample(this.#files.samples, known);
  }

  facts(): RunFacts {
    const { config, steps, problems } = this.#settings();
    const step = this.#metrics.steps;
    const timing = this.#timing.series;
    const seconds = timing.get('seconds');
    const left = this.#state === 'running' && steps !== undefined ? steps - step : 0;
    const best = this.#metrics.series.get('best')?.marks?.last.step;
    const metric = config.get('evaluation.keepBest');
    const damaged = this.#metrics.damaged + this.#timing.damaged + this.#samples.damaged;
    return {
      ...{ name: this.name, state: this.#state, step, steps },
      remaining: left > 0 && seconds ? (left * seconds.total) / seconds.count : undefined,
      tokensPerSecond: timing.get('tokensPerSecond')?.marks?.last.value ?? undefined,
      checkpoint: newestCheckpoint(this.#files.checkpoints),
      best: best === undefined || metric === undefined ? undefined : { step: best, metric },
      problems: [
        ...(this.#problem === undefined ? [] : [this.#problem]),
        ...problems,
        ...(damaged > 0 ? [`Lines that are damaged, and left out: ${damaged}.`] : []),
      ],
    };
  }

  /** The settings of the run, by dotted keys; none if it has not begun. */
  get config(): ReadonlyMap<string, string> {
    return this.#settings().config;
  }

  #settings() {
    try {
      const config = readConfig(this.#files.config);
      const steps = readNote(this.#files.note)?.steps ?? numberOf(config.get('steps'));
      return { config, steps, problems: [] };
    } catch (error) {
      if (!(error instanceof PalmError)) throw error;
      return { config: new Map<string, string>(), steps: undefined, problems: [error.message] };
    }
  }

  async #stateNow(): Promise<RunState> {
    if (await isLocked(this.#files.checkpoints)) return 'running';
    const [metrics, model] = [timeOf(this.#files.metrics), timeOf(this.#files.model)];
    if (metrics === undefined) return 'waiting';
    if (model === undefined) return 'stopped';
    // The files of a copied run may all be as old, so the number of steps counts too.
    const { steps = Number.POSITIVE_INFINITY } = this.#settings();
    return model >= metrics || this.#metrics.steps >= steps ? 'ended' : 'stopped';
  }
}

function timeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

function numberOf(text: string | undefined): number | undefined {
  const value = Number(text);
  return text !== undefined && Number.isSafeInteger(value) ? value : undefined;
}

function newestCheckpoint(folder: string): number | undefined {
  try {
    const steps = readdirSync(folder).flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []);
    return steps.length === 0 ? undefined : Math.max(...steps.map(Number));
  } catch {
    return undefined; // the folder is made with the first checkpoint
  }
}
