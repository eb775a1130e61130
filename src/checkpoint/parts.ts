/** What a run changes from step to step, by name: things with tensors, and things with a small state. */
import { join } from 'node:path';
import { ArgumentError, printable } from '../errors.ts';
import { checkKind, checkKinds, type Kind } from '../checks/kinds.ts';
import { addon } from '../native/addon.ts';
import { Tensor } from '../tensor/tensor.ts';
import { packageVersion } from '../version.ts';
import type { Environment } from './manifest.ts';
import { loadTensors, type Saveable } from '../tensor/tensor-files.ts';

/** Anything with a small state that is saved as JSON: a position in the data, a weight that adapts. */
export interface Stateful<State = never> {
  state(): unknown;
  restore(state: State): void;
  /** Leaves out data that come next. */
  skip?(batches: number): void;
}

/** What a run may change: a model, an optimizer, a place in the data; undefined where a run does without. */
export type Part = Saveable | Stateful<never> | undefined;

const PART: Kind = {
  is: (part) => isSaveable(part) || isStateful(part),
  words: 'something with contents(), or with state() and restore(): leave out what training does not change',
};

/** The parts of a run; what is undefined is none. */
export class Parts {
  /** Those with tensors. */
  readonly saved: ReadonlyMap<string, Saveable>;
  readonly #stateful: ReadonlyMap<string, Stateful>;

  /** @throws ArgumentError for a part that has neither tensors nor a state: it would be lost, and a resume be another run. */
  constructor(parts: Readonly<Record<string, Part>>) {
    checkKinds('openCheckpoints.parts', parts, {});
    const all = Object.entries(parts).filter(([, part]) => part !== undefined);
    for (const [name, part] of all) checkKind(`openCheckpoints.parts.${name}`, part, PART);
    this.saved = new Map(all.filter((entry): entry is [string, Saveable] => isSaveable(entry[1])));
    this.#stateful = new Map(all.filter((entry): entry is [string, Stateful] => isStateful(entry[1])));
  }

  /** The states of those that have one, by name; JSON. */
  states(): Record<string, unknown> {
    return Object.fromEntries([...this.#stateful].map(([name, part]) => [name, part.state()]));
  }

  /**
   * Reads the files of the checkpoint at `path`, and its `states`, into the parts.
   * @throws ArgumentError when the checkpoint has other parts, FileError for other models or optimizers.
   */
  async load(path: string, files: readonly string[], states: Readonly<Record<string, unknown>>): Promise<void> {
    this.#checkNames(path, new Set([...files.filter((name) => name.endsWith('.safetensors')), ...Object.keys(states)]));
    for (const [name, part] of this.saved) {
      await loadTensors(join(path, `${name}.safetensors`), part.contents().tensors);
    }
    for (const [name, part] of this.#stateful) part.restore(states[name] as never);
  }

  /** Leaves out the next batches, wherever there are any. */
  skip(batches: number): void {
    for (const part of this.#stateful.values()) part.skip?.(batches);
  }

  /** What the numbers depend on besides the configuration. */
  environment(): Environment {
    const { libtorch, threads, cpuCapability } = addon().info();
    const all = [...this.saved.values()].flatMap((part) => part.contents().tensors.map(({ tensor }) => tensor));
    const devices = new Set(all.filter((tensor) => tensor instanceof Tensor).map(({ device }) => device));
    const platform = `${process.platform}-${process.arch}`;
    return { version: packageVersion(), libtorch, platform, device: [...devices].join(), threads, cpuCapability };
  }

  #checkNames(path: string, found: ReadonlySet<string>): void {
    const own = new Set([...[...this.saved.keys()].map((name) => `${name}.safetensors`), ...this.#stateful.keys()]);
    if (found.size === own.size && [...found].every((name) => own.has(name))) return;
    throw new ArgumentError({
      argument: path,
      received: `a run with the parts ${[...found].join(', ')}`,
      expected: [...own].join(', '),
      fix: 'Resume with the trainer and the options that the run was started with.',
    });
  }
}

/** In words what `now` has other than `then`. */
export function differences(then: Environment, now: Environment): string[] {
  const names = Object.keys(now).filter((name) => now[name] !== then[name]);
  return names.map((name) => {
    return `saved with ${name} ${printable(then[name])}, resumed with ${printable(now[name])}: the last digits may differ`;
  });
}

function isSaveable(part: unknown): part is Saveable {
  return typeof (part as Partial<Saveable> | null | undefined)?.contents === 'function';
}

function isStateful(part: unknown): part is Stateful {
  const { state, restore } = (part ?? {}) as Partial<Stateful>;
  return typeof state === 'function' && typeof restore === 'function';
}
