/** What training does where memory does not suffice for a whole batch: it reads fewer rows at a time. */
import { OutOfMemoryError } from '../errors.ts';
import type { Optimizer } from '../optim.ts';

/** How many rows of a batch are read at once: all of them, and half as many from each time on that memory runs out. */
export class MicroBatch {
  readonly #whole: number;
  #rows: number;

  constructor(rows: number) {
    this.#whole = rows;
    this.#rows = rows;
  }

  /** The rows that are read at once now; undefined as long as that is a whole batch. */
  get reduced(): number | undefined {
    return this.#rows < this.#whole ? this.#rows : undefined;
  }

  /**
   * Gives what `attempt` does with so many rows at once. When memory runs out, the gradients that it left are forgotten and it
   * starts anew with half as many, so it must change nothing but gradients.
   * @throws OutOfMemoryError where a single row is too much.
   */
  async fit<T>(optimizer: Optimizer, attempt: (rows: number) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await attempt(this.#rows);
      } catch (error) {
        if (!(error instanceof OutOfMemoryError)) throw error;
        optimizer.zeroGrad();
        if (this.#rows === 1) throw error;
        this.#rows = Math.ceil(this.#rows / 2);
      }
    }
  }
}
