/** The parts of a run that change from step to step, by name: some with tensors, some with a small state. */
import { join } from 'node:path';
import { ArgumentError, printable } from '../errors.ts';
import { checkKind, checkKinds, type Kind } from '../checks/kinds.ts';
import { addon } from '../native/addon.ts';
import { Tensor } from '../tensor/tensor.ts';
import { packageVersion } from '../package.ts';
import type { Environment } from './manifest.ts';
import { loadTensors, type Saveable } from '../tensor/tensor-files.ts';

/** Anything with a small state that is saved as JSON: a position in the data, an adaptive weight. */
export interface Stateful<State = never> {
  state(): unknown;
  restore(state: State): void;
  /** Skips the next batches of data. */
  skip?(batches: number): void;
}

/** Something a run may change: a model, an optimizer, a position in the data; undefined if the run has none. */
export type Part = Saveable | Stateful<never> | undefined;

const PART: Kind = {
  is: (part) => isSaveable(part) || isStateful(part),
  words: 'an object with contents(), or with state() and restore() (omit parts that training does not change)',
};

/** The parts of a run; undefined ones are ignored. */
export class Parts {
  /** The parts with tensors. */
  readonly saved: ReadonlyMap<string, Saveable>;
  readonly #stateful: ReadonlyMap<string, Stateful>;

  /** @throws ArgumentError for a part with neither tensors nor a state: it would be lost when the run is resumed. */
  constructor(parts: Readonly<Record<string, Part>>) {
    checkKinds('openCheckpoints.parts', parts, {});
    const all = Object.entries(parts).filter(([, part]) => part !== undefined);
    for (const [name, part] of all) checkKind(`openCheckpoints.parts.${name}`, part, PART);
    this.saved = new Map(all.filter((entry): entry is [string, Saveable] => isSaveable(entry[1])));
    this.#stateful = new Map(all.filter((entry): entry is [string, Stateful] => isStateful(entry[1])));
  }

  /** The states of all stateful parts by name, as JSON. */
  states(): Record<string, unknown> {
    return Object.fromEntries([...this.#stateful].map(([name, part]) => [name, part.state()]));
  }

  /**
   * Loads the files of the checkpoint at `path`, and its `states`, into the parts.
   * @throws ArgumentError if the checkpoint has other parts.
   * @throws FileError if it belongs to other models or optimizers.
   */
  async load(path: string, files: readonly string[], states: Readonly<Record<string, unknown>>): Promise<void> {
    this.#checkNames(path, new Set([...files.filter((name) => name.endsWith('.safetensors')), ...Object.keys(states)]));
    for (const [name, part] of this.saved) {
      await loadTensors(join(path, `${name}.safetensors`), part.contents().tensors);
    }
    for (const [name, part] of this.#stateful) part.restore(states[name] as never);
  }

  /** Skips the next batches in every part that has data. */
  skip(batches: number): void {
    for (const part of this.#stateful.values()) part.skip?.(batches);
  }

  /** What the results depend on besides the configuration. */
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
      fix: 'Resume with the trainer and options that the run was started with.',
    });
  }
}

/** Describes how `now` differs from `then`. */
export function differences(then: Environment, now: Environment): string[] {
  const names = Object.keys(now).filter((name) => now[name] !== then[name]);
  return names.map((name) => {
    return `saved with ${name} ${printable(then[name])}, resumed with ${printable(now[name])}: results may differ in the last digits`;
  });
}

function isSaveable(part: unknown): part is Saveable {
  return typeof (part as Partial<Saveable> | null | undefined)?.contents === 'function';
}

function isStateful(part: unknown): part is Stateful {
  const { state, restore } = (part ?? {}) as Partial<Stateful>;
  return typeof state === 'function' && typeof restore === 'function';
}
