/**
 * Saving and resuming any run. A trainer is an async generator of steps, and all that it changes are parts that can tell
 * their tensors (`contents`) or their state as JSON (`state`, `restore`): nothing else needs to be known of it.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ArgumentError, CheckpointError, NumericsError, printable, RewardError } from '../errors.ts';
import { asFileError } from '../file-error.ts';
import { addon } from '../native.ts';
import { checkInteger, checkOptions } from '../options.ts';
import { Tensor } from '../tensor.ts';
import { packageVersion } from '../version.ts';
import { removeLeftovers } from './aside.ts';
import { checkpointsIn, removeOld, type States, verifyCheckpoint, writeCheckpoint } from './checkpoint.ts';
import { lock } from './lock.ts';
import { type Environment, readManifest } from './manifest.ts';
import { type SpikeOptions, Spikes } from './spikes.ts';
import { Staging } from './staging.ts';
import { loadTensors, type Saveable } from './tensor-files.ts';

/** Anything with a small state that is saved as JSON: a position in the data, a weight that adapts. With `skip` it can leave out data. */
export interface Stateful<State = never> {
  state(): unknown;
  restore(state: State): void;
  skip?(batches: number): void;
}

export interface CheckpointOptions {
  /** The folder of the checkpoints, made where it is not there. */
  directory: string;
  /** All that training changes, by name. What has neither `contents` nor `state` and `restore` is left out. */
  parts: object;
  /** Steps between checkpoints, 100 unless given; the last step always has one. */
  every?: number;
  /** How many checkpoints are kept, 2 unless given and at least 2: the newest may be the one that a fault hits. */
  keep?: number;
  /** Once it is aborted, the run is saved after the step that is being done, and ends. */
  signal?: AbortSignal | undefined;
  /** Goes back to the last checkpoint after a spike of the steps' `loss`, and leaves out the data that came with it. */
  spikes?: SpikeOptions | undefined;
  /** Is told to take back what was told of the steps after `step`, as these are done again. */
  rewind?: (step: number) => Promise<void>;
  /** Makes durable what was told of the steps so far, before a checkpoint says that they were done. */
  flush?: () => Promise<void>;
  /** Is told what goes wrong but does not end the run; a process warning unless given. */
  warn?: (message: string) => void;
}

/** How often a run goes back to the same checkpoint. */
const MAX_RETURNS = 3;
/** What training can be without a checkpoint on a disk that refuses. */
const MAX_FAILURES = 3;

/**
 * Takes `directory` for this process, which becomes the only one that can write to it, until what is returned is closed.
 * @throws LockedError naming the process that has it, FileError when it cannot be written.
 */
export async function openCheckpoints(options: CheckpointOptions): Promise<Checkpoints> {
  const known = ['directory', 'parts', 'every', 'keep', 'signal', 'spikes', 'rewind', 'flush', 'warn'];
  checkOptions(options, known, 'openCheckpoints');
  const { directory, every = 100, keep = 2 } = options;
  checkInteger(every, 1, 'openCheckpoints.every');
  checkInteger(keep, 2, 'openCheckpoints.keep');
  try {
    await mkdir(directory, { recursive: true });
    const unlock = await lock(directory);
    return new Checkpoints({ ...options, every, keep }, await removeLeftovers(directory), unlock);
  } catch (error) {
    throw asFileError(error, directory, 'a folder to write to');
  }
}

/** The checkpoints of one run, whose only writer this is. */
export class Checkpoints implements AsyncDisposable {
  readonly #options: CheckpointOptions & { every: number; keep: number };
  readonly #saved: ReadonlyMap<string, Saveable>;
  readonly #stateful: ReadonlyMap<string, Stateful>;
  readonly #staging: Staging;
  readonly #unlock: () => Promise<void>;
  #run = randomBytes(8).toString('hex');
  /** The last step that was done, and the states after it. */
  #step = 0;
  #states: States;
  /** The step of the last checkpoint, on the disk or on its way there. */
  #checkpoint: number | undefined;
  #writing: Promise<void> = Promise.resolve();
  #failures: unknown[] = [];
  #requested = false;
  readonly #spikes: Spikes | undefined;
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
    const parts = Object.entries(options.parts) as [string, unknown][];
    this.#saved = new Map(parts.filter((entry): entry is [string, Saveable] => isSaveable(entry[1])));
    this.#spikes = options.spikes && new Spikes(options.spikes.threshold);
    const stateful = [...parts, ['spikes', this.#spikes]] as [string, unknown][];
    this.#stateful = new Map(stateful.filter((entry): entry is [string, Stateful] => isStateful(entry[1])));
    this.#staging = new Staging(this.#saved);
    this.#states = this.#statesNow();
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
    const { manifest, states } = await verifyCheckpoint(found);
    this.#checkParts(found, Object.keys(manifest.files), Object.keys(states));
    for (const [name, part] of this.#saved) {
      await loadTensors(join(found, `${name}.safetensors`), part.contents().tensors);
    }
    for (const [name, part] of this.#stateful) part.restore(states[name] as never);
    for (const difference of differences(manifest.environment, environment(this.#saved.values())))
      this.#warn(`${found}: ${difference}`);
    await this.#setLaterAside(manifest.step);
    [this.#run, this.#step, this.#states] = [manifest.run, manifest.step, states];
    [this.#checkpoint, this.#returns] = [manifest.step, 0];
    return manifest.step;
  }

  /**
   * The steps of `train`, which is given the number of those already done. Every `every` steps, when asked by `saveSoon` and
   * after the last one, the run is copied to memory and written from there while training goes on.
   * @throws ArgumentError where the folder holds a run that was not restored, FileError when the disk refused three times.
   */
  async *during<Step extends { readonly step: number }>(
    train: (start: number) => AsyncGenerator<Step>,
  ): AsyncGenerator<Step> {
    await this.#checkRestored();
    const { signal } = this.#options;
    try {
      while (yield* this.#untilSpike(train)) await this.#goBack();
    } catch (error) {
      // Ended within a step that had changed nothing but its place in the data: the states are those before it.
      const stopped = signal?.aborted === true && error === signal.reason;
      if (!stopped && !(error instanceof RewardError)) throw error;
      await this.#saveLast();
      if (!stopped) throw error;
    }
    await this.#saveLast();
  }

  /** Returns whether the last step was a spike to go back from. */
  async *#untilSpike<Step extends { readonly step: number }>(
    train: (start: number) => AsyncGenerator<Step>,
  ): AsyncGenerator<Step, boolean> {
    const { signal, every } = this.#options;
    for await (const step of train(this.#step)) {
      const spike = this.#spikes?.isSpike((step as { loss?: number }).loss ?? Number.NaN) === true;
      this.#step = step.step;
      this.#states = this.#statesNow();
      yield step; // it is told before it is saved, so that a resumed run need not tell it again
      if (spike && (await this.#canGoBack())) return true;
      if (signal?.aborted) return false;
      if (this.#requested || this.#failures.length > 0 || step.step % every === 0) await this.#save();
    }
    return false;
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
    const manifest = { run: this.#run, step: this.#step, environment: environment(this.#saved.values()) };
    const staged = { manifest, files: await this.#staging.copy(), states: this.#states };
    [this.#checkpoint, this.#returns] = [this.#step, 0];
    this.#writing = this.#write(staged);
  }

  async #write(staged: Parameters<typeof writeCheckpoint>[1]): Promise<void> {
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
    while (this.#checkpoint !== this.#step && this.#step > 0) {
      await this.#save();
      await this.#writing;
    }
  }

  async #canGoBack(): Promise<boolean> {
    await this.#writing;
    if (this.#checkpoint === undefined) this.#warn(`step ${this.#step}: a spike, and no checkpoint to go back to`);
    return this.#checkpoint !== undefined;
  }

  /** To the last checkpoint, and past the data that came after it: further each time, or the same would come again. */
  async #goBack(): Promise<void> {
    const { skip } = this.#options.spikes as SpikeOptions;
    const spike = this.#step;
    this.#returns = this.#returns + 1;
    if (this.#returns > MAX_RETURNS) {
      throw new NumericsError({
        argument: `step ${spike}`,
        received: `a spike of the loss after ${MAX_RETURNS} returns to step ${this.#checkpoint}`,
        expected: 'a loss that falls',
        fix: 'Lower the learning rate, or resume from an earlier checkpoint.',
      });
    }
    const returns = this.#returns;
    const step = await this.restore();
    this.#returns = returns;
    const batches = returns * Math.max(skip, spike - step);
    for (const part of this.#stateful.values()) part.skip?.(batches);
    await this.#options.rewind?.(step);
    this.#warn(`step ${spike}: a spike of the loss; back to step ${step}, and ${batches} batches further`);
  }

  async #find(path: string | undefined): Promise<string | undefined> {
    if (path !== undefined) return path;
    const all = await checkpointsIn(this.#options.directory);
    for (const candidate of all) {
      try {
        await readManifest(candidate, { hashes: true });
        return candidate;
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        if (candidate === all.at(-1)) throw error;
        this.#warn(`${error.message} The checkpoint before it is taken.`);
      }
    }
    return undefined;
  }

  #checkParts(path: string, files: string[], states: string[]): void {
    const saved = new Set([...files.filter((name) => name.endsWith('.safetensors')), ...states]);
    const own = new Set([...[...this.#saved.keys()].map((name) => `${name}.safetensors`), ...this.#stateful.keys()]);
    const unlike = [...saved, ...own].filter((name) => !saved.has(name) || !own.has(name));
    if (unlike.length === 0) return;
    throw new ArgumentError({
      argument: path,
      received: `a run with the parts ${[...saved].join(', ')}`,
      expected: [...own].join(', '),
      fix: 'Resume with the trainer and the options that the run was started with.',
    });
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

  #statesNow(): States {
    return Object.fromEntries([...this.#stateful].map(([name, part]) => [name, part.state()]));
  }

  #warn(message: string): void {
    const { warn = (text: string) => process.emitWarning(text, 'PalmWarning') } = this.#options;
    warn(message);
  }
}

function isSaveable(part: unknown): part is Saveable {
  return typeof (part as Partial<Saveable> | undefined)?.contents === 'function';
}

function isStateful(part: unknown): part is Stateful {
  const { state, restore } = (part ?? {}) as Partial<Stateful>;
  return typeof state === 'function' && typeof restore === 'function';
}

/** What the numbers depend on besides the configuration. */
function environment(parts: Iterable<Saveable>): Environment {
  const { libtorch, threads, cpuCapability } = addon().info();
  const all = [...parts].flatMap((part) => part.contents().tensors.map(({ tensor }) => tensor));
  const devices = new Set(all.filter((tensor) => tensor instanceof Tensor).map(({ device }) => device));
  const platform = `${process.platform}-${process.arch}`;
  return { version: packageVersion(), libtorch, platform, device: [...devices].join(), threads, cpuCapability };
}

/** In words what `now` has other than `then`. */
function differences(then: Environment, now: Environment): string[] {
  const names = Object.keys(now).filter((name) => now[name] !== then[name]);
  return names.map((name) => {
    return `saved with ${name} ${printable(then[name])}, resumed with ${printable(now[name])}: the last digits may differ`;
  });
}
