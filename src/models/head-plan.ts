/** What heads with one hidden layer need in memory (native/rlhf/perceptron.h), which their plans share. */
import { block } from './memory-block.ts';
import { bytesEach, count, type MemoryItem, type PlannedModel, trainingItems } from './memory-items.ts';

/** The number of weights of such a head with `out` outputs. */
export function perceptronSize({ dim }: PlannedModel, out: number): number {
  return 2 * dim * (dim + 1) + out * (2 * dim + 1);
}

/** Heads of so many weights, and what training them adds; `what` names them. */
export function headItems(model: PlannedModel, what: string, weights: number): MemoryItem[] {
  const each = bytesEach(model);
  const training = trainingItems(model, { numbers: weights, bytes: (size) => block(weights * size) });
  return [
    { what, bytes: block(weights * each), how: `${count(weights)} values × ${each} bytes` },
    ...training.map((item) => ({ ...item, what: `${item.what} of heads` })),
  ];
}
