/**
 * Saving and resuming any run. A trainer is an async generator of steps, and all that it changes are parts that can tell
 * their tensors (`contents`) or their state as JSON (`state`, `restore`): nothing else needs to be known of it.
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
import { lock } from './lock.ts';
import { writeSealed } from './manifest.ts';
import { differences, type Part, Parts } from './parts.ts';
import { Staging } from './staging.ts';

export interface CheckpointOptions {
  /** The folder of the checkpoints, made where it is not there. */
  directory: string;
  /** All that training changes, by name: each has `contents`, or `state` and `restore`. Undefined ones are left out. */
  parts: Readonly<Record<string, Part>>;
  /** Steps between checkpoints, 100 unless given; the last step always has one. */
  every?: number;
  /** How many checkpoints are kept, 2 unless given and at least 2: the newest may be the one that a fault hits. */
  keep?: number;
  /** Once it is aborted, the run is saved after the step that is being done, and ends. */
  signal?: AbortSignal | undefined;
  /** Sends the run back to its last checkpoint, and past data behind it, when it sees what must not stay: see `Spikes`. */
  watch?: Watch | undefined;
  /** Is told to take back what was told of the steps after `step`, as these are done again. */
  rewind?: (step: number) => Promise<void>;
  /** Makes durable what was told of the steps so far, before a checkpoint says that they were done. */
  flush?: () => Promise<void>;
  /** Is told what goes wrong but does not end the run; a process warning unless given. */
  warn?: (message: string) => void;
}

/** What may send a run back. Its state is saved with the run. */
export interface Watch {
  /** What is wrong with the numbers of a step, in words; undefined while all is well. */
  sees(step: object): string | undefined;
  /** Batches to leave out, for the `returns`-th return from `step` to one `checkpoint`. @throws to end the run instead */
  skip(step: number, checkpoint: number, returns: number): number;
  /** As `state.json` has it. */
  state(): { losses: number[] };
  restore(state: { losses: number[] }): void;
}

const words = 'a function that gives a generator of steps';
const TRAIN: Kind = { is: FUNCTION.is, words };
const CALLED = {
  signal: optional(SIGNAL),
  watch: optional(having('something that watches steps, such as new Spikes(...)', 'sees', 'skip', 'state', 'restore')),
  rewind: optional(FUNCTION),
  flush: optional(FUNCTION),
  warn: optional(FUNCTION),
};
const STEPS: Kind = { is: (value) => typeof Object(value)[Symbol.asyncIterator] === 'function', words };

/** What training can be without a checkpoint on a disk that refuses. */
const MAX_FAILURES = 3;

/**
 * Takes `directory` for this process, which becomes the only one that can write to it, until what is returned is closed.
 * @throws LockedError naming the process that has it, FileError when it cannot be written, ArgumentError for half a part.
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

/** Writes a file as those of checkpoints are written: what keeps them from the disk shall be known before the first step. */
async function tryWriting(directory: string): Promise<void> {
  const aside = temporaryPath(join(directory, 'trial'));
  await writeSealed(aside, [Buffer.from('a trial')]);
  await syncFolder(directory);
  await rm(aside);
}

/** The checkpoints of one run, whose only writer this is. */
export class Checkpoints implements AsyncDisposable {
  readonly #options: CheckpointOptions & { every: number; keep: number };
  readonly #parts: Parts;
  readonly #staging: Staging;
  readonly #unlock: () => Promise<void>;
  #run = randomBytes(8).toString('hex');
  /** The last step that was done, with the states after it. */
  #reached: RunState;
  /** The step of the last checkpoint, on the disk or on its way there. */
  #checkpoint: number | undefined;
  #writing: Promise<void> = Promise.resolve();
  #failures: unknown[] = [];
  #requested = false;
  /** How often the run went back to `#checkpoint`. */
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
    for (const name of leftovers) this.#warn(`removed ${join(options.directory, name)}, which was not finished`);
  }

  /**
   * Reads the checkpoint `path` into the parts, or without one the newest that is whole, telling of those that are not; gives
   * the number of steps that it had done, 0 where there is no checkpoint yet. Checkpoints of later steps are set aside.
   * @throws CheckpointError when `path` or every checkpoint is damaged, FileError for one of other models or optimizers.
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
   * The steps of `train`, which is given the number of those already done. Every `every` steps, when asked by `saveSoon` and
   * after the last one, the run is copied to memory and written from there while training goes on.
   * @throws ArgumentError where the folder holds a run that was not restored, FileError when the disk has no room for a
   * checkpoint, before the first step, or has refused three times.
   */
  async *during<Step extends { readonly step: number }>(
    train: (start: number) => AsyncGenerator<Step>,
  ): AsyncGenerator<Step> {
    checkKind('train', train, TRAIN);
    await this.#checkRestored();
    await checkSpace(this.#options.directory, this.#staging.byteLength);
    const { signal } = this.#options;
    try {
      for (let seen = yield* this.#untilSeen(train); seen !== undefined; seen = yield* this.#untilSeen(train))
        await this.#goBack(seen);
    } catch (error) {
      // Ended within a step that had changed nothing but its place in the data: the states are those before it.
      const stopped = signal?.aborted === true && error === signal.reason;
      if (!stopped && !(error instanceof RewardError)) throw error;
      await this.#saveLast();
      if (!stopped) throw error;
    }
    await this.#saveLast();
  }

  /** Returns what the watch saw in the last step, to go back from; undefined at the end. */
  async *#untilSeen<Step extends { readonly step: number }>(
    train: (start: number) => AsyncGenerator<Step>,
  ): AsyncGenerator<Step, string | undefined> {
    const { signal, every, watch } = this.#options;
    const steps = train(this.#reached.step);
    checkKind('train', steps, STEPS);
    for await (const step of steps) {
      const seen = watch?.sees(step);
      this.#reached = this.#stateAfter(step.step);
      yield step; // it is told before it is saved, so that a resumed run need not tell it again
      if (seen !== undefined && (await this.#canGoBack(seen))) return seen;
      if (signal?.aborted) return undefined;
      if (this.#requested || this.#failures.length > 0 || step.step % every === 0) await this.#save();
    }
    return undefined;
  }

  /** Saves after the step that is being done. */
  saveSoon(): void {
    this.#requested = true;
  }

  /** Waits for the checkpoint that is being written, and lets other processes have the folder. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#unlock().catch((error: Error) => this.#warn(`still locked: ${error.message}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Copies the run and begins to write it, once the one before is written. */
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
      this.#warn(`not saved: ${(error as Error).message}`);
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

  async #canGoBack(seen: string): Promise<boolean> {
    await this.#writing;
    if (this.#checkpoint === undefined)
      this.#warn(`step ${this.#reached.step}: ${seen}, and no checkpoint to go back to`);
    return this.#checkpoint !== undefined;
  }

  /** To the last checkpoint, and past data that came after it. */
  async #goBack(seen: string): Promise<void> {
    const { watch, rewind } = this.#options;
    const from = this.#reached.step;
    const returns = this.#returns + 1;
    const step = await this.restore();
    this.#returns = returns;
    const batches = (watch as Watch).skip(from, step, returns);
    this.#parts.skip(batches);
    await rewind?.(step);
    this.#warn(`step ${from}: ${seen}; back to step ${step}, and ${batches} batches further`);
  }

  async #find(wanted: string | undefined): Promise<(Verified & { path: string }) | undefined> {
    if (wanted !== undefined) return { path: wanted, ...(await verifyCheckpoint(wanted)) };
    const all = await checkpointsIn(this.#options.directory);
    for (const path of all) {
      try {
        return { path, ...(await verifyCheckpoint(path)) };
      } catch (error) {
        if (!(error instanceof CheckpointError) || path === all.at(-1)) throw error;
        this.#warn(`${error.message} The checkpoint before it is taken.`);
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
      this.#warn(`${path} is of a later step: it was renamed ${basename(aside)}`);
    }
  }

  async #checkRestored(): Promise<void> {
    const { directory } = this.#options;
    if (this.#checkpoint !== undefined || (await checkpointsIn(directory)).length === 0) return;
    throw new ArgumentError({
      argument: directory,
      received: 'the checkpoints of an earlier run',
      expected: 'none',
      fix: 'Call restore() to go on with that run, or choose another folder.',
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
