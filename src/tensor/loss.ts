/** The result of a loss: a tensor to differentiate, and named metrics. */
import type { NativeLoss, NativeMetrics, TensorHandle } from '../native/addon.ts';
import { Tensor } from './tensor.ts';

/** A scalar to differentiate, with metrics that were computed on the way. */
export class Loss<Name extends string> extends Tensor {
  /** For this package only: the metrics in native memory. @internal */
  readonly measured: Measured<Name>;

  constructor({ loss, metrics }: NativeLoss) {
    super(loss);
    this.measured = new Measured(metrics);
  }

  /** The metrics by name, copied to JavaScript at once. */
  metrics(): Promise<Record<Name, number>> {
    return this.measured.read();
  }

  protected override release(handle: TensorHandle): void {
    this.measured.dispose();
    super.release(handle);
  }
}

/** Metrics in native memory, with the names that native code gave them. */
export class Measured<Name extends string> {
  /** [M], one value for each name. */
  readonly values: Tensor;
  readonly #names: readonly string[];

  constructor({ names, values }: NativeMetrics) {
    this.values = new Tensor(values);
    this.#names = names;
  }

  /** The given values by name. */
  named(numbers: ArrayLike<number | bigint>): Record<Name, number> {
    return Object.fromEntries(this.#names.map((name, i) => [name, Number(numbers[i])])) as Record<Name, number>;
  }

  async read(): Promise<Record<Name, number>> {
    return this.named(await this.values.data());
  }

  dispose(): void {
    this.values.dispose();
  }
}
