/** The readers of a trunk: it must not change under models that do not train it. */
import { SharedTrunkError } from '../errors.ts';

/** A model that reads the trunk of another without owning it. */
export interface Reader {
  name: string;
  /** The scopes it needs. */
  scopes: readonly string[];
  /** Whether it may train all weights of the trunk. */
  trainsTrunk: boolean;
}

/** The readers of one trunk. */
export class Readers {
  readonly #all = new Set<Reader>();

  /** From now on the trunk cannot be changed under `reader`. Returns a function that ends this. */
  add(reader: Reader): () => void {
    this.#all.add(reader);
    return () => this.#all.delete(reader);
  }

  /** Whether a reader shares the trunk for the adapters of `scope`, without training the trunk itself. */
  share(scope: string): boolean {
    return [...this.#all].some(({ scopes, trainsTrunk }) => !trainsTrunk && scopes.includes(scope));
  }

  /** @throws SharedTrunkError naming the readers that need `scope`, if any; `action` is what they prevent. */
  checkUnused(scope: string, action: string): void {
    this.#refuse(
      action,
      [...this.#all].filter(({ scopes }) => scopes.includes(scope)),
    );
  }

  /** @throws SharedTrunkError naming all readers, or with `butTrainer` all except the one that may train the trunk. */
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
      received: `a trunk shared with ${others.map(({ name }) => name).join(' and ')} when ${action}`,
      expected: 'one without other readers',
      fix: 'Dispose of the other readers first, train a scope instead, or work on model.clone().',
    });
  }
}
