/**
 * The optimizer step of all methods. It alone handles micro-batches that fit into memory, denominators, clipping, skipped steps
 * and ranks; a method provides rows and their loss.
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
  /** Divisor of summed losses: the count of the whole step in this process. */
  denominator: number;
  maxGradNorm: number;
  maxSkipped: number;
  /** Called before the first piece, and again before a retry with smaller pieces. */
  begin?: () => void;
  /** Text whose gradients are added, in pieces of as many rows. */
  beside?: Beside | undefined;
}

/** Rows of text, and the loss of a piece of them, which is divided by a count of its own. */
export interface Beside {
  rows: readonly Int32Array[];
  lossOf: (rows: readonly Int32Array[]) => Promise<Tensor>;
}

/** Rows of a step that were processed at once. */
export interface Piece<Name extends string> {
  rows: number;
  metrics: Record<Name, number>;
}

/** The result of a step; see `StepResult`. */
export interface Updated<Name extends string>
  extends Pick<StepResult, 'gradNorm' | 'skipped' | 'nonFinite' | 'losses'> {
  pieces: Piece<Name>[];
  /** The sum of `losses`, one for each of `pieces`. */
  loss: number;
  /** The loss of the rows beside; 0 without any. */
  besideLoss: number;
}

/** A scalar to differentiate, with metrics or without. */
type PieceLoss<Name extends string> = Tensor | Loss<Name>;

/**
 * One optimizer step with the gradients of all `batches`, each processed in pieces of as many rows as fit into memory. `lossOf`
 * computes the loss of a piece: the sum over its rows, divided by the denominator. So 2 batches of 4 equal 1 of 8, on 2 ranks
 * as on 1. Nothing is copied from the device before the optimizer's step, and then all results at once. Gradients are always
 * cleared at the end, even after an error.
 * @throws OutOfMemoryError if a single row does not fit.
 * @throws NumericsError if `maxSkipped` consecutive steps are not finite.
 */
export async function update<Row, Name extends string = never>(
  { optimizer, microBatch, world = alone }: UpdateParts,
  batches: readonly (readonly Row[])[],
  { denominator, maxGradNorm, maxSkipped, begin, beside }: UpdateOptions,
  lossOf: (rows: readonly Row[], denominator: number) => Promise<PieceLoss<Name>>,
): Promise<Updated<Name>> {
  const whole = await world.sum(denominator);
  const pieceLosses: PieceLoss<Name>[] = [];
  const disposeLosses = () => {
    for (const loss of pieceLosses.splice(0)) loss.dispose();
  };
  try {
    const pieces = await microBatch.fit(optimizer, async (size) => {
      disposeLosses();
      begin?.();
      const differentiate = async (loss: PieceLoss<Name>) => {
        pieceLosses.push(loss);
        await loss.backward();
      };
      const all = batches.flatMap((batch) => chunks(batch, size));
      for (const rows of all) await differentiate(await lossOf(rows, whole));
      if (beside) for (const rows of chunks(beside.rows, size)) await differentiate(await beside.lossOf(rows));
      return all;
    });
    const measured = pieceLosses.flatMap((loss) => (loss instanceof Loss ? [loss.measured] : []));
    const options = { maxGradNorm, maxSkipped, loss: pieceLosses, read: measured.map(({ values }) => values) };
    const { gradNorm, skipped, nonFinite, losses: found, read } = await optimizer.step(options);
    const losses = found.slice(0, pieces.length);
    return {
      losses,
      pieces: pieces.map(({ length }, i) => ({ rows: length, metrics: metricsOf(measured[i], read[i]) })),
      loss: losses.reduce((sum, loss) => sum + loss, 0),
      besideLoss: found.slice(pieces.length).reduce((sum, loss) => sum + loss, 0),
      gradNorm,
      skipped,
      nonFinite,
    };
  } finally {
    disposeLosses();
    if (!optimizer.disposed) optimizer.zeroGrad();
  }
}

/** The metrics of a piece by name, from the `numbers` that were read; empty if its loss has no metrics. */
function metricsOf<Name extends string>(measured: Measured<Name> | undefined, numbers: number[] = []) {
  return measured?.named(numbers) ?? ({} as Record<Name, number>);
}
