/**
 * The optimizer step of all methods: it alone knows of pieces that fit into memory, denominators, clipping, skipped steps and
 * ranks. A method says what its rows are and what their loss is.
 */
import { alone, type World } from '../distributed/world.ts';
import type { Optimizer, StepResult } from '../optim.ts';
import { Loss, type Measured } from '../tensor/loss.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { MicroBatch } from './out-of-memory.ts';
import { chunks } from './rollouts.ts';

export interface UpdateParts {
  optimizer: Optimizer;
  microBatch: MicroBatch;
  world?: World;
}

export interface UpdateOptions {
  /** What sums of losses are divided by: the count of the whole step in this process. */
  denominator: number;
  maxGradNorm: number;
  maxSkipped: number;
  /** Called before the first piece, and again where all of them are read anew in smaller ones. */
  begin?: () => void;
}

/** What a step learned from at once. */
export interface Piece<Name extends string> {
  rows: number;
  metrics: Record<Name, number>;
}

/** What a step did; see `StepResult`. */
export interface Updated<Name extends string>
  extends Pick<StepResult, 'gradNorm' | 'skipped' | 'nonFinite' | 'losses'> {
  pieces: Piece<Name>[];
  /** The sum of `losses`, one for each of `pieces`. */
  loss: number;
}

/** A scalar to differentiate, with measurements or without. */
type Share<Name extends string> = Tensor | Loss<Name>;

/**
 * One step of the optimizer by the gradients of all `batches`, each read in pieces of at most as many rows as fit. `lossOf` gives
 * the loss of a piece: the sum over its rows, divided by the denominator. So 2 batches of 4 equal 1 of 8, on 2 ranks as on 1.
 * No number crosses from the device before the optimizer's step; all that is told then comes at once. Whatever happens, no gradient is
 * left.
 * @throws OutOfMemoryError where a single row is too much, NumericsError after `maxSkipped` steps in a row that were not finite.
 */
export async function update<Row, Name extends string = never>(
  { optimizer, microBatch, world = alone }: UpdateParts,
  batches: readonly (readonly Row[])[],
  { denominator, maxGradNorm, maxSkipped, begin }: UpdateOptions,
  lossOf: (rows: readonly Row[], denominator: number) => Promise<Share<Name>>,
): Promise<Updated<Name>> {
  const whole = await world.sum(denominator);
  const shares: Share<Name>[] = [];
  const forget = () => {
    for (const share of shares.splice(0)) share.dispose();
  };
  try {
    const pieces = await microBatch.fit(optimizer, async (size) => {
      forget();
      begin?.();
      const all = batches.flatMap((batch) => chunks(batch, size));
      for (const rows of all) {
        const share = await lossOf(rows, whole);
        shares.push(share);
        await share.backward();
      }
      return all;
    });
    const measured = shares.flatMap((share) => (share instanceof Loss ? [share.measured] : []));
    const told = { loss: shares, read: measured.map(({ values }) => values) };
    const { gradNorm, skipped, nonFinite, losses, read } = await optimizer.step({ maxGradNorm, maxSkipped, ...told });
    return {
      losses,
      pieces: pieces.map(({ length }, i) => ({ rows: length, metrics: metricsOf(measured[i], read[i]) })),
      loss: losses.reduce((sum, loss) => sum + loss, 0),
      gradNorm,
      skipped,
      nonFinite,
    };
  } finally {
    forget();
    if (!optimizer.disposed) optimizer.zeroGrad();
  }
}

/** The measurements of a piece, of which `numbers` were read; none where its loss has none. */
function metricsOf<Name extends string>(measured: Measured<Name> | undefined, numbers: number[] = []) {
  return measured?.named(numbers) ?? ({} as Record<Name, number>);
}
