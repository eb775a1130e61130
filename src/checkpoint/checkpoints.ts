/**
 * Saving and resuming any run. A trainer is an async generator of steps. Everything it changes is a part that exposes
 * its tensors (`contents`) or its state as JSON (`state`, `restore`); nothing else about it needs to be known.
 */
import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ArgumentError, CheckpointError, RewardError } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { makeFolder } from '../files/folder.ts';
import { checkKind, checkKinds, FUNCTION, having, type Kind, optional, PATH, SIGNAL } from '../checks/kinds.ts';
import { checkInteger, checkOptions } from '../checks/options.ts';
import { temporaryPath, removeLeftovers, syncFolder } from '../files/atomic-write.ts';
import {
  checkpointsIn,
  checkSpace,
  type RunState,
  removeOld,
  type StagedCheckpoint,
  type Verified,
  verifyCheckpoint,
  writeCheckpoint,
} from './checkpoint.ts';
import { lock } from '../files/lock.ts';
import { writeSealed } from './manifest.ts';
import { differences, type Part, Parts } from './parts.ts';
import { Staging } from './staging.ts';

export interface CheckpointOptions {
  /** The folder of the checkpoints, created if missing. */
  directory: string;
  /**
   * Everything that training changes, by name. Each part has `contents`, or `state` and `restore`. Undefined parts are
   * ignored.
   */
  parts: Readonly<Record<string, Part>>;
  /** Steps between checkpoints; the last step always has one. Defaults to 100. */
  every?: number;
  /** Number of checkpoints to keep, at least 2 because a fault may damage the newest. Defaults to 2. */
  keep?: number;
  /** When aborted, the run is saved after the current step and ends. */
  signal?: AbortSignal | undefined;
  /** Rolls the run back to its last checkpoint, and past the data after it, when a step looks wrong: see `Spikes`. */
  watch?: Watch | undefined;
  /** Called after a rollback: drops everything logged for later steps. */
  rewind?: (step: number) => Promise<void>;
  /** Called before a save: flushes the logs, so that they never lag behind the checkpoint. */
  flush?: () => Promise<void>;
  /** Called with problems that do not end the run. Defaults to emitting a process warning. */
  warn?: (message: string) => void;
}

/** Decides when to roll a run back. Its state is saved with the run. */
export interface Watch {
  /** Describes what is wrong with a step; undefined if nothing is. */
  sees(step: object): string | undefined;
  /**
   * The number of batches to skip on the `returns`-th rollback from `step` to the same `checkpoint`.
   * @throws to end the run instead
   */
  skip(step: number, checkpoint: number, returns: number): number;
  /** The state that is saved in `state.json`. */
  state(): { losses: number[] };
  restore(state: { losses: number[] }): void;
}

const words = 'a function that returns an async generator of steps';
const TRAIN: Kind = { is: FUNCTION.is, words };
const CALLED = {
  signal: optional(SIGNAL),
  watch: optional(having('a watch, such as new Spikes(...)', 'sees', 'skip', 'state', 'restore')),
  rewind: optional(FUNCTION),
  flush: optional(FUNCTION),
  warn: optional(FUNCTION),
};
const STEPS: Kind = { is: (value) => typeof Object(value)[Symbol.asyncIterator] === 'function', words };

/** Consecutive failed saves before the run is aborted. */
const MAX_FAILURES = 3;

/**
 * Locks `directory` for this process, which is its only writer until the result is closed.
 * @throws LockedError naming the process that holds the lock.
 * @throws FileError if the folder cannot be written.
 * @throws ArgumentError for an incomplete part.
 */
export async function openCheckpoints(options: CheckpointOptions): Promise<Checkpoints> {
  const known = ['directory', 'parts', 'every', 'keep', 'signal', 'watch', 'rewind', 'flush', 'warn'];
  checkOptions(options, known, 'openCheckpoints');
  const { directory, every = 100, keep = 2 } = options;
  checkKind('openCheckpoints.directory', directory, PATH);
  checkKinds('openCheckpoints', options, CALLED);
  checkInteger(every, 1, 'openCheckpoints.every');
  checkInteger(keep, 2, 'openCheckpoints.keep');
  let unlock: (() => Promise<void>) | undefined;
  try {
    makeFolder(directory);
    unlock = await lock(directory);
    const leftovers = await removeLeftovers(directory);
    await tryWriting(directory);
    return new Checkpoints({ ...options, every, keep }, leftovers, unlock);
  } catch (error) {
    await unlock?.();
    throw asFileError(error, directory, 'a folder to write to');
  }
}

/** Writes a trial file the way checkpoints are written, so that an unwritable disk is found before the first step. */
async function tryWriting(directory: string): Promise<void> {
  const aside = temporaryPath(join(directory, 'trial'));
  await writeSealed(aside, [Buffer.from('a trial')]);
  await syncFolder(directory);
  await rm(aside);
}

/** The checkpoints of one run; this object is their only writer. */
export class Checkpoints implements AsyncDisposable {
  readonly #options: CheckpointOptions & { every: number; keep: number };
  readonly #parts: Parts;
  readonly #staging: Staging;
  readonly #unlock: () => Promise<void>;
  #run = randomBytes(8).toString('hex');
  /** The last completed step, with the states after it. */
  #reached: RunState;
  /** The step of the last checkpoint, written or being written. */
  #checkpoint: number | undefined;
  #writing: Promise<void> = Promise.resolve();
  #failures: unknown[] = [];
  #requested = false;
  /** The number of rollbacks to `#checkpoint` so far. */
  #returns = 0;

  /** For this package only; use `openCheckpoints`. */
  constructor(
    options: CheckpointOptions & { every: number; keep: number },
    leftovers: readonly string[],
    unlock: () => Promise<void>,
  ) {
    this.#options = options;
    this.#unlock = unlock;
    this.#parts = new Parts(options.parts);
    this.#staging = new Staging(this.#parts.saved);
    this.#reached = this.#stateAfter(0);
    for (const name of leftovers) this.#warn(`removed ${join(options.directory, name)}, which was incomplete`);
  }

  /**
   * Loads the checkpoint `path` into the parts; without a path, the newest intact one, warning of those that are
   * damaged. Returns the number of steps it had completed, or 0 if there is no checkpoint yet. Checkpoints of later
   * steps are renamed.
   * @throws CheckpointError if `path` or every checkpoint is damaged.
   * @throws FileError if the checkpoint belongs to other models or optimizers.
   */
  async restore(path?: string): Promise<number> {
    const found = await this.#find(path);
    if (found === undefined) return 0;
    const { manifest, state } = found;
    await this.#parts.load(found.path, Object.keys(manifest.files), state.parts);
    if (state.spikes !== undefined) this.#options.watch?.restore(state.spikes);
    for (const difference of differences(manifest.environment, this.#parts.environment())) {
      this.#warn(`${found.path}: ${difference}`);
    }
    await this.#setLaterAside(manifest.step);
    [this.#run, this.#reached] = [manifest.run, state];
    [this.#checkpoint, this.#returns] = [manifest.step, 0];
    return manifest.step;
  }

  /**
   * Yields the steps of `train`, which is called with the number of steps already completed. The run is saved every
   * `every` steps, when `saveSoon` was called, and after the last step: copied to memory, and written from there while
   * training continues.
   * @throws ArgumentError if the folder holds a run that was not restored.
   * @throws FileError before the first step if the disk has no room for a checkpoint.
   * @throws FileError if saving failed three times in a row.
   */
  async *during<Step extends { readonly step: number }>(
    train: (start: number) => AsyncGenerator<Step>,
  ): AsyncGenerator<Step> {
    checkKind('train', train, TRAIN);
    await this.#checkRestored();
    await checkSpace(this.#options.directory, this.#staging.byteLength);
    const { signal } = this.#options;
    try {
      for (let seen = yield* this.#untilRollback(train); seen !== undefined; seen = yield* this.#untilRollback(train))
        await this.#rollBack(seen);
    } catch (error) {
      // The step was aborted after changing only the position in the data, so the states are those before it.
      const stopped = signal?.aborted === true && error === signal.reason;
      if (!stopped && !(error instanceof RewardError)) throw error;
      await this.#saveLast();
      if (!stopped) throw error;
    }
    await this.#saveLast();
  }

  /** Yields steps until the watch objects to one, and returns its reason for a rollback; undefined at the end. */
  async *#untilRollback<Step extends { readonly step: number }>(
    train: (start: number) => AsyncGenerator<Step>,
  ): AsyncGenerator<Step, string | undefined> {
    const { signal, every, watch } = this.#options;
    const steps = train(this.#reached.step);
    checkKind('train', steps, STEPS);
    for await (const step of steps) {
      const seen = watch?.sees(step);
      this.#reached = this.#stateAfter(step.step);
      yield step; // logged before it is saved, so that a resumed run need not log it again
      if (seen !== undefined && (await this.#canRollBack(seen))) return seen;
      if (signal?.aborted) return undefined;
      if (this.#requested || this.#failures.length > 0 || step.step % every === 0) await this.#save();
    }
    return undefined;
  }

  /** Saves the run after the current step. */
  saveSoon(): void {
    this.#requested = true;
  }

  /** Waits for the checkpoint being written, and unlocks the folder. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#unlock().catch((error: Error) => this.#warn(`still locked: ${error.message}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Copies the run and starts writing the copy, once the previous one is written. */
  async #save(): Promise<void> {
    this.#requested = false;
    await this.#writing;
    if (this.#failures.length >= MAX_FAILURES) throw this.#failures.at(-1);
    const state = this.#reached;
    const staged = { run: this.#run, environment: this.#parts.environment(), files: await this.#staging.copy(), state };
    [this.#checkpoint, this.#returns] = [state.step, 0];
    this.#writing = this.#write(staged);
  }

  async #write(staged: StagedCheckpoint): Promise<void> {
    const { directory, keep, flush } = this.#options;
    try {
      await flush?.();
      await writeCheckpoint(directory, staged);
      this.#failures = [];
    } catch (error) {
      this.#failures.push(error);
      this.#checkpoint = undefined;
      this.#warn(`checkpoint not saved: ${(error as Error).message}`);
      return;
    }
    await removeOld(directory, keep).catch((error: Error) => {
      this.#warn(`an old checkpoint in ${directory} could not be removed: ${error.message}`);
    });
  }

  async #saveLast(): Promise<void> {
    await this.#writing;
    while (this.#checkpoint !== this.#reached.step && this.#reached.step > 0) {
      await this.#save();
      await this.#writing;
    }
  }

  async #canRollBack(seen: string): Promise<boolean> {
    await this.#writing;
    if (this.#checkpoint === undefined)
      this.#warn(`step ${this.#reached.step}: ${seen}, but there is no checkpoint to return to`);
    return this.#checkpoint !== undefined;
  }

  /** Restores the last checkpoint and skips data after it. */
  async #rollBack(seen: string): Promise<void> {
    const { watch, rewind } = this.#options;
    const from = this.#reached.step;
    const returns = this.#returns + 1;
    const step = await this.restore();
    this.#returns = returns;
    const batches = (watch as Watch).skip(from, step, returns);
    this.#parts.skip(batches);
    await rewind?.(step);
    this.#warn(`step ${from}: ${seen}; returned to step ${step} and skipped ${batches} batches`);
  }

  async #find(wanted: string | undefined): Promise<(Verified & { path: string }) | undefined> {
    if (wanted !== undefined) return { path: wanted, ...(await verifyCheckpoint(wanted)) };
    const all = await checkpointsIn(this.#options.directory);
    for (const path of all) {
      try {
        return { path, ...(await verifyCheckpoint(path)) };
      } catch (error) {
        if (!(error instanceof CheckpointError) || path === all.at(-1)) throw error;
        this.#warn(`${error.message} Using the previous checkpoint instead.`);
      }
    }
    return undefined;
  }

  async #setLaterAside(step: number): Promise<void> {
    const { directory } = this.#options;
    for (const path of await checkpointsIn(directory)) {
      if (Number(basename(path).slice('step-'.length)) <= step) continue;
      const aside = `${path}.replaced-${randomBytes(4).toString('hex')}`;
      await rename(path, aside);
      this.#warn(`${path} is from a later step: renamed to ${basename(aside)}`);
    }
  }

  async #checkRestored(): Promise<void> {
    const { directory } = this.#options;
    if (this.#checkpoint !== undefined || (await checkpointsIn(directory)).length === 0) return;
    throw new ArgumentError({
      argument: directory,
      problem: 'already holds checkpoints of a run',
      fix: 'Call restore() to resume that run, or choose another folder.',
    });
  }

  #stateAfter(step: number): RunState {
    return { step, parts: this.#parts.states(), spikes: this.#options.watch?.state() };
  }

  #warn(message: string): void {
    const { warn = (text: string) => process.emitWarning(text, 'PalmWarning') } = this.#options;
    warn(message);
  }
}
