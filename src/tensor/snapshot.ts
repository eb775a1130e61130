/** Copies of tensors that can be put back. */
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { Tensor } from './tensor.ts';
import { type Contents, inPlace, type NamedTensor, type Saveable, shapeOf } from './tensor-files.ts';

/** A copy of all tensors of `source` on the CPU, with the metadata of its file. Dispose of it. */
export class Snapshot implements Saveable, Disposable {
  readonly #source: Saveable;
  readonly #copies: readonly { name: string; tensor: Tensor }[];
  #metadata: ReadonlyMap<string, string>;

  /** Allocates the copies, which have no values before `take`. */
  constructor(source: Saveable) {
    const { tensors, metadata } = source.contents();
    this.#source = source;
    this.#metadata = metadata;
    this.#copies = tensors.map((named) => {
      return { name: named.name, tensor: new Tensor(addon().tensorEmpty(shapeOf(named), named.tensor.dtype, 'cpu')) };
    });
  }

  get metadata(): ReadonlyMap<string, string> {
    return this.#metadata;
  }

  /** Replaces the metadata, if the copies were loaded from a file. */
  set metadata(metadata: ReadonlyMap<string, string>) {
    this.#metadata = metadata;
  }

  /** Copies the present values. */
  async take(): Promise<void> {
    const { tensors, metadata } = this.#source.contents();
    this.#metadata = metadata;
    for (const { named, copy } of this.#pairs(tensors)) await inPlace(named, (present) => copyTo(copy, present));
  }

  /** Copies the values that were taken back into the source. */
  async putBack(): Promise<void> {
    const { tensors } = this.#source.contents();
    for (const { named, copy } of this.#pairs(tensors)) await inPlace(named, (present) => copyTo(present, copy));
  }

  contents(): Contents {
    return { tensors: this.#copies, metadata: this.#metadata };
  }

  dispose(): void {
    for (const { tensor } of this.#copies) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #pairs(tensors: readonly NamedTensor[]) {
    return tensors.map((named, i) => ({ named, copy: (this.#copies[i] as { tensor: Tensor }).tensor }));
  }
}

async function copyTo(target: Tensor, source: Tensor): Promise<void> {
  await run([target, source], () => addon().tensorCopy(handleOf(target), handleOf(source)));
}
