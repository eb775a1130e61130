/** Log-ratios of responses to the reference policy, and the mean of them over a run. */
import { checkKinds, NUMBER, WHOLE } from '../checks/kinds.ts';
import { logRatio } from '../losses/kto.ts';
import type { Policy } from '../models/policy.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Optimizer } from '../optim.ts';
import type { MicroBatch } from './out-of-memory.ts';
import { responseRows } from './response-rows.ts';
import { chunks } from './rollouts.ts';

/** The mean of all rewards of a run, which are beta times log-ratios: the δ of BCO; checkpoints save `state`. */
export class RunningMean {
  #count = 0;
  #mean = 0;

  get mean(): number {
    return this.#mean;
  }

  /** The mean with `values` included. */
  including(values: readonly number[]): { count: number; mean: number } {
    const count = this.#count + values.length;
    return { count, mean: this.#mean + values.reduce((sum, value) => sum + (value - this.#mean) / count, 0) };
  }

  state(): { count: number; mean: number } {
    return { count: this.#count, mean: this.#mean };
  }

  restore(state: { count: number; mean: number }): void {
    checkKinds('RunningMean.restore', state, { count: WHOLE, mean: NUMBER });
    this.#count = state.count;
    this.#mean = state.mean;
  }
}

/** A prompt with a response to it, as token ids. */
export interface Sequence {
  prompt: readonly number[];
  response: readonly number[];
}

/** Calls `use` with the log-probabilities of responses under policy and reference, and the mask of response tokens. */
export async function compared<T>(
  policy: Policy,
  rows: readonly Sequence[],
  options: { grad: boolean },
  use: (logProb: Tensor, referenceLogProb: Tensor, responseMask: Tensor) => Promise<T>,
): Promise<T> {
  const made = responseRows(
    rows.map(({ prompt }) => prompt),
    rows.map(({ response }) => response),
  );
  using sequence = made.sequence;
  using responseMask = made.responseMask;
  using now = await policy.compare(sequence, options);
  return await use(now.logProb, now.referenceLogProb, responseMask);
}

/** The log-ratios of responses to the reference, a tensor for each piece, without a graph. */
export async function logRatiosOf(policy: Policy, pieces: readonly (readonly Sequence[])[]): Promise<Tensor[]> {
  const ratios: Tensor[] = [];
  try {
    for (const piece of pieces) ratios.push(await compared(policy, piece, { grad: false }, logRatio));
    return ratios;
  } catch (error) {
    for (const some of ratios) some.dispose();
    throw error;
  }
}

/** All numbers of `tensors`, which are disposed of. */
async function numbersOf(tensors: readonly Tensor[]): Promise<number[]> {
  try {
    const arrays = await Promise.all(tensors.map((tensor) => tensor.data()));
    return arrays.flatMap((array) => Array.from(array, Number));
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
}

/**
 * δ for a step that learns from `rows`: the mean of all rewards, theirs included. `learned` puts them into `mean`.
 * A δ that is not finite would come with a loss that is not; it is 0, and the step is skipped.
 */
export async function deltaWith(
  mean: RunningMean,
  rows: readonly Sequence[],
  {
    policy,
    optimizer,
    microBatch,
    beta,
  }: { policy: Policy; optimizer: Optimizer; microBatch: MicroBatch; beta: number },
): Promise<{ delta: number; learned: () => void }> {
  const ratios = await microBatch.fit(optimizer, (size) => logRatiosOf(policy, chunks(rows, size)));
  const next = mean.including((await numbersOf(ratios)).map((ratio) => beta * ratio));
  return { delta: Number.isFinite(next.mean) ? next.mean : 0, learned: () => mean.restore(next) };
}
