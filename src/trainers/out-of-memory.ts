/** Retries a step with fewer rows at a time when memory runs out. */
import { OutOfMemoryError } from '../errors.ts';
import type { Optimizer } from '../optim.ts';

/** How many rows of a batch are processed at once: all of them at first, halved each time memory runs out. */
export class MicroBatch {
  readonly #whole: number;
  readonly #together: number;
  #rows: number;

  /** `together` rows are never divided: sizes are multiples of it. */
  constructor(rows: number, together = 1) {
    this.#whole = rows;
    this.#together = together;
    this.#rows = rows;
  }

  /** The current number of rows at once; undefined while that is a whole batch. */
  get reduced(): number | undefined {
    return this.#rows < this.#whole ? this.#rows : undefined;
  }

  /**
   * Runs `attempt` with the current number of rows at once. When memory runs out, gradients are cleared and it runs again with
   * half as many rows, so it must change nothing but gradients.
   * @throws OutOfMemoryError if even the fewest rows do not fit.
   */
  async fit<T>(optimizer: Optimizer, attempt: (rows: number) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await attempt(this.#rows);
      } catch (error) {
        if (!(error instanceof OutOfMemoryError)) throw error;
        optimizer.zeroGrad();
        if (this.#rows === this.#together) throw error;
        this.#rows = Math.ceil(this.#rows / 2 / this.#together) * this.#together;
      }
    }
  }
}
