/** Loss spikes: when a run returns to its last checkpoint, how much data it then skips, and when it gives up. */
import { checkKinds, WHOLE, POSITIVE } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Watch } from '../checkpoint/checkpoints.ts';
import { ArgumentError, NumericsError, printable } from '../errors.ts';

/** What counts as a loss spike, and how much data to skip after it. */
export interface SpikeOptions {
  /** Standard deviations above the mean of recent losses. */
  threshold: number;
  /** Batches to skip, counted from the checkpoint that the run returns to. */
  skip: number;
}

const WINDOW = 128;
const MIN_LOSSES = 32;
/** How often a run returns to the same checkpoint. */
const MAX_RETURNS = 3;

/**
 * Detects loss spikes: losses more than `threshold` standard deviations above the mean of up to 128 earlier losses, and at least
 * 32. PaLM's remedy (Chowdhery et al. 2022, section 5.1) is to go back about 100 steps and to skip 200 to 500 batches: a spike
 * needs the combination of these data and this state of the model.
 */
export class Spikes implements Watch {
  readonly #options: SpikeOptions;
  #losses: number[] = [];

  /** @throws ArgumentError unless `threshold` is a number > 0 and `skip` an integer >= 0. */
  constructor(options: SpikeOptions) {
    checkOptions(options, ['threshold', 'skip'], 'Spikes');
    checkKinds('Spikes', options, { threshold: POSITIVE, skip: WHOLE });
    this.#options = options;
  }

  /** Non-finite losses are not spikes: the optimizer skips such steps. A spike does not enter the statistics of later losses. */
  sees({ loss = Number.NaN }: { loss?: number }): string | undefined {
    if (!Number.isFinite(loss)) return undefined;
    const limit = mean(this.#losses) + this.#options.threshold * deviation(this.#losses);
    if (this.#losses.length >= MIN_LOSSES && loss > limit) return 'a loss spike';
    this.#losses = [...this.#losses.slice(1 - WINDOW), loss];
    return undefined;
  }

  /** Skips more with each return, or the same spike would recur. @throws NumericsError for a fourth return to a checkpoint. */
  skip(step: number, checkpoint: number, returns: number): number {
    if (returns > MAX_RETURNS) {
      throw new NumericsError({
        argument: `step ${step}`,
        received: `a loss spike after ${MAX_RETURNS} returns to step ${checkpoint}`,
        expected: 'a falling loss',
        fix: 'Lower the learning rate, or resume from an earlier checkpoint.',
      });
    }
    return returns * Math.max(this.#options.skip, step - checkpoint);
  }

  state(): { losses: number[] } {
    return { losses: [...this.#losses] };
  }

  /** @throws ArgumentError if `losses` are not numbers, or too many. */
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
