/** Spikes of the loss: when they send a run back to its last checkpoint, how far in the data, and when they end it. */
import { checkKinds, WHOLE, POSITIVE } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Watch } from '../checkpoint/checkpoints.ts';
import { ArgumentError, NumericsError, printable } from '../errors.ts';

/** When a loss is a spike, and how much of the data to leave out after it. */
export interface SpikeOptions {
  /** Standard deviations above the mean of the losses before it. */
  threshold: number;
  /** Batches that are left out, from the checkpoint on that the run goes back to. */
  skip: number;
}

const WINDOW = 128;
const FEWEST = 32;
/** How often a run goes back to the same checkpoint. */
const MAX_RETURNS = 3;

/**
 * Sees spikes of the steps' `loss`: those that lie `threshold` standard deviations above the mean of up to 128 before them, of
 * which there have to be 32. PaLM's recipe against them (Chowdhery et al. 2022, section 5.1) is to go back about 100 steps and to
 * leave out 200 to 500 batches: it takes those data and that state of the model together to make a spike.
 */
export class Spikes implements Watch {
  readonly #options: SpikeOptions;
  #losses: number[] = [];

  /** @throws ArgumentError for a threshold that is no number > 0, and a `skip` that is no integer >= 0. */
  constructor(options: SpikeOptions) {
    checkOptions(options, ['threshold', 'skip'], 'Spikes');
    checkKinds('Spikes', options, { threshold: POSITIVE, skip: WHOLE });
    this.#options = options;
  }

  /** Infinities and NaN are no spikes: the optimizer skips such steps. Later losses are not compared with a spike. */
  sees({ loss = Number.NaN }: { loss?: number }): string | undefined {
    if (!Number.isFinite(loss)) return undefined;
    const limit = mean(this.#losses) + this.#options.threshold * deviation(this.#losses);
    if (this.#losses.length >= FEWEST && loss > limit) return 'a spike of the loss';
    this.#losses = [...this.#losses.slice(1 - WINDOW), loss];
    return undefined;
  }

  /** Further each time, or the same would come again. @throws NumericsError for a fourth return to one checkpoint. */
  skip(step: number, checkpoint: number, returns: number): number {
    if (returns > MAX_RETURNS) {
      throw new NumericsError({
        argument: `step ${step}`,
        received: `a spike of the loss after ${MAX_RETURNS} returns to step ${checkpoint}`,
        expected: 'a loss that falls',
        fix: 'Lower the learning rate, or resume from an earlier checkpoint.',
      });
    }
    return returns * Math.max(this.#options.skip, step - checkpoint);
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
