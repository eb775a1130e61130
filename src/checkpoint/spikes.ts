import { ArgumentError, printable } from '../errors.ts';

/** When a loss is a spike, and how much of the data to leave out after it. */
export interface SpikeOptions {
  /** Standard deviations above the mean of the losses before it. */
  threshold: number;
  /** Batches that are left out, from the checkpoint on that the run goes back to. */
  skip: number;
}

const WINDOW = 128;
const FEWEST = 32;

/**
 * Tells spikes of the loss: those that lie `threshold` standard deviations above the mean of up to 128 before them, of which
 * there have to be 32. PaLM's recipe against them (Chowdhery et al. 2022, section 5.1) is to go back about 100 steps and to
 * leave out 200 to 500 batches: it takes those data and that state of the model together to make a spike.
 */
export class Spikes {
  readonly #threshold: number;
  #losses: number[] = [];

  constructor(threshold: number) {
    this.#threshold = threshold;
  }

  /** Whether `loss` is a spike; if not, the next ones are compared with it too. Infinities and NaN are none: the optimizer skips such steps. */
  isSpike(loss: number): boolean {
    if (!Number.isFinite(loss)) return false;
    const spike =
      this.#losses.length >= FEWEST && loss > mean(this.#losses) + this.#threshold * deviation(this.#losses);
    if (!spike) this.#losses = [...this.#losses.slice(1 - WINDOW), loss];
    return spike;
  }

  state(): { losses: number[] } {
    return { losses: [...this.#losses] };
  }

  /** @throws ArgumentError where `losses` are not numbers. */
  restore({ losses }: { losses: number[] }): void {
    if (!Array.isArray(losses) || !losses.every(Number.isFinite) || losses.length > WINDOW) {
      throw new ArgumentError({
        argument: 'losses',
        received: printable(losses),
        expected: `at most ${WINDOW} numbers`,
      });
    }
    this.#losses = [...losses];
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function deviation(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
}
