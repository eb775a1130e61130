/** What a loss gives: a tensor to differentiate, and numbers with names. */
import type { NativeLoss, TensorHandle } from '../native/addon.ts';
import { Tensor } from './tensor.ts';

/** A scalar to differentiate, with what else was measured on the way. */
export class Loss<Name extends string> extends Tensor {
  readonly #measured: Measured<Name>;

  constructor({ loss, metrics }: NativeLoss, names: readonly Name[]) {
    super(loss);
    this.#measured = new Measured(metrics, names);
  }

  /** The measurements by name; they cross to JavaScript in one copy. */
  metrics(): Promise<Record<Name, number>> {
    return this.#measured.read();
  }

  protected override release(handle: TensorHandle): void {
    this.#measured.dispose();
    super.release(handle);
  }
}

/** A vector of numbers whose places have names. */
export class Measured<Name extends string> {
  readonly #vector: Tensor;
  readonly #names: readonly Name[];

  constructor(vector: TensorHandle, names: readonly Name[]) {
    this.#vector = new Tensor(vector);
    this.#names = names;
  }

  async read(): Promise<Record<Name, number>> {
    const values = await this.#vector.data();
    return Object.fromEntries(this.#names.map((name, i) => [name, Number(values[i])])) as Record<Name, number>;
  }

  dispose(): void {
    this.#vector.dispose();
  }
}
