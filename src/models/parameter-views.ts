/** Views of parts of a model's parameters, to read files into and to write files from. */
import type { Part } from '../families/place.ts';
import { addon } from '../native/addon.ts';
import { handleOf } from '../native/resource.ts';
import { Tensor } from '../tensor/tensor.ts';
import type { Run } from './row-runs.ts';

/** A parameter, or what stands for it. */
export interface Valued {
  name: string;
  /** A tensor of its own, which may share the memory. */
  value(): Promise<Tensor>;
}

/** The values of parameters by name. Dispose of it. */
export class ParameterViews implements Disposable {
  readonly #values: ReadonlyMap<string, Tensor>;

  private constructor(values: ReadonlyMap<string, Tensor>) {
    this.#values = values;
  }

  static async of(parameters: readonly Valued[]): Promise<ParameterViews> {
    const values = parameters.map(async (one) => [one.name, await one.value()] as const);
    return new ParameterViews(new Map(await Promise.all(values)));
  }

  /** The rows of a run. Dispose of it. */
  rows({ part, first, rows }: Run): Tensor {
    const [height] = this.#of(part).shape;
    using columns = part.dim === 1 ? this.columns(part, 0, part.length) : this.#narrowed(part, 0, 0, height as number);
    return slice(columns, 0, first, rows.length);
  }

  /** `length` columns of a part, from its column `start` on. Dispose of it. */
  columns(part: Part, start: number, length: number): Tensor {
    using all = this.#narrowed(part, part.dim, part.start, part.length);
    return slice(all, 1, start, length);
  }

  [Symbol.dispose](): void {
    for (const value of this.#values.values()) value.dispose();
  }

  #narrowed(part: Part, dim: number, start: number, length: number): Tensor {
    return slice(this.#of(part), dim, start, length);
  }

  #of({ parameter }: Part): Tensor {
    return this.#values.get(parameter) as Tensor;
  }
}

function slice(tensor: Tensor, dim: number, start: number, length: number): Tensor {
  return new Tensor(addon().tensorNarrow(handleOf(tensor), dim, start, length));
}
