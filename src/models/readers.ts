/** Who reads a trunk: it must not change under those who do not train it. */
import { SharedTrunkError } from '../errors.ts';

/** A model that reads the trunk of another without owning it. */
export interface Reader {
  name: string;
  /** Scopes that it needs. */
  scopes: readonly string[];
  /** True when it may train all weights of the trunk. */
  trainsTrunk: boolean;
}

/** The readers of one trunk. */
export class Readers {
  readonly #all = new Set<Reader>();

  /** From now on the trunk cannot be changed under `reader`. Returns how to end that. */
  add(reader: Reader): () => void {
    this.#all.add(reader);
    return () => this.#all.delete(reader);
  }

  /** Whether one of them shares the trunk for the sake of the adapters of `scope`. */
  share(scope: string): boolean {
    return [...this.#all].some(({ scopes, trainsTrunk }) => !trainsTrunk && scopes.includes(scope));
  }

  /** @throws SharedTrunkError naming the readers that need `scope`, if there are any; `action` is what they forbid. */
  checkUnused(scope: string, action: string): void {
    this.#refuse(
      action,
      [...this.#all].filter(({ scopes }) => scopes.includes(scope)),
    );
  }

  /** @throws SharedTrunkError naming all readers, or with `butTrainer` those besides the one that may train the trunk. */
  checkNone(action: string, { butTrainer = false } = {}): void {
    const all = [...this.#all];
    const trainer = butTrainer ? all.find(({ trainsTrunk }) => trainsTrunk) : undefined;
    this.#refuse(
      action,
      all.filter((reader) => reader !== trainer),
    );
  }

  #refuse(action: string, others: readonly Reader[]): void {
    if (others.length === 0) return;
    throw new SharedTrunkError({
      argument: 'model',
      received: `${action} while ${others.map(({ name }) => name).join(' and ')} reads it`,
      expected: 'a trunk without other readers',
      fix: 'Dispose of them first, train a scope, or work on model.clone().',
    });
  }
}
