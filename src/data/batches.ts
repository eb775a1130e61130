import { ArgumentError, printable } from '../errors.ts';
import { checkKinds, NUMBER } from '../checks/kinds.ts';
import { deriveSeed, Random } from './random.ts';

/** Position in the batches: `position` items of epoch `epoch` have been consumed. */
export interface BatchesState {
  epoch: number;
  position: number;
}

/**
 * Endless batches of the indices 0 to size - 1. Each epoch has its own order, which depends only on the seed and the
 * epoch, so that the position is the whole state. The last, short batch of an epoch is filled from the next one.
 */
export class Batches {
  private readonly size: number;
  private readonly batchSize: number;
  private readonly seed: number;
  private epoch = 0;
  private position = 0;
  private order: Uint32Array;

  /** @throws ArgumentError unless size and batchSize are at min 1. */
  constructor(options: { size: number; batchSize: number; seed: number }) {
    checkKinds('Batches', options, { seed: NUMBER });
    const { size, batchSize, seed } = options;
    checkCount('size', size, 1);
    checkCount('batchSize', batchSize, 1);
    this.size = size;
    this.batchSize = batchSize;
    this.seed = seed;
    this.order = this.shuffled(0);
  }

  /** The next `batchSize` indices. */
  next(): number[] {
    const batch: number[] = [];
    while (batch.length < this.batchSize) {
      if (this.position === this.size) this.enter(this.epoch + 1, 0);
      const end = Math.min(this.size, this.position + this.batchSize - batch.length);
      for (const index of this.order.subarray(this.position, end)) batch.push(index);
      this.position = end;
    }
    return batch;
  }

  /** Skips the next `batches` batches. */
  skip(batches: number): void {
    checkCount('batches', batches, 0);
    const items = this.position + batches * this.batchSize;
    this.enter(this.epoch + Math.floor(items / this.size), items % this.size);
  }

  state(): BatchesState {
    return { epoch: this.epoch, position: this.position };
  }

  /**
   * Continues from a `state()` of batches with the same size and seed.
   * @throws ArgumentError for an invalid position.
   */
  restore(state: BatchesState): void {
    checkKinds('state', state, {});
    const { epoch, position } = state;
    checkCount('epoch', epoch, 0);
    checkCount('position', position, 0, this.size);
    this.enter(epoch, position);
  }

  private enter(epoch: number, position: number): void {
    if (epoch !== this.epoch) this.order = this.shuffled(epoch);
    this.epoch = epoch;
    this.position = position;
  }

  private shuffled(epoch: number): Uint32Array {
    const order = Uint32Array.from({ length: this.size }, (_, index) => index);
    return new Random(deriveSeed(this.seed, epoch)).shuffle(order);
  }
}

function checkCount(argument: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw new ArgumentError({ argument, received: printable(value), expected: `an integer ${range}` });
}
