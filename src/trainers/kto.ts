/** Kahneman-Tversky optimisation (Ethayarajh et al. 2024), and two more losses of labelled responses. docs/kto.md has the formulas. */
import { type KtoConfig, ktoConfig } from '../config/kto.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf, NUMBER, optional, WHOLE } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { Batches } from '../data/batches.ts';
import type { Label } from '../data/labels.ts';
import { ArgumentError } from '../errors.ts';
import { type KtoLossOptions, type KtoMetrics, ktoLoss, logRatio } from '../losses/kto.ts';
import { Policy } from '../models/policy.ts';
import { Optimizer } from '../optim.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkTokens } from './check-tokens.ts';
import type { MicroBatch } from './out-of-memory.ts';
import { BATCHES, LABELS } from './parts.ts';
import { checkReference, learnFromRows, type Measure, type RecordedStep, responseRows } from './recorded.ts';
import { chunks } from './rollouts.ts';
import { SAMPLE_PROMPTS, type SamplePrompts } from './samples.ts';

/** The mean of all rewards of a run, the δ of BCO; checkpoints save `state`. */
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

/** The parts of a KTO run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface KtoParts {
  /** Trained by `optimizer`; it has a reference. */
  policy: Policy;
  optimizer: Optimizer;
  /** The labelled responses to train on. */
  labels: readonly Label[];
  /** Selects the next of `labels`, `config.batchSize` at a time. */
  batches: Batches;
  /** Held-out labelled responses; without them there are no validation metrics. */
  validation?: readonly Label[] | undefined;
  /** The mean of the rewards so far; needed by the loss `bco`. */
  rewardMean?: RunningMean | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

const PARTS = {
  policy: instanceOf(Policy),
  optimizer: instanceOf(Optimizer),
  labels: LABELS,
  batches: BATCHES,
  validation: optional(LABELS),
  rewardMean: optional(instanceOf(RunningMean)),
  samples: SAMPLE_PROMPTS,
};

/** The metrics of a step. Those of the loss are of its rows before the update. */
export interface KtoStep extends RecordedStep {
  /** Share of rows whose reward is on the right side of the reference point; those on it count half. */
  accuracy: number;
  /** z0, the estimated KL to the reference in nats per response; undefined for other losses than `kto`. */
  kl: number | undefined;
  /** The mean of all rewards so far; undefined for other losses than `bco`. */
  delta: number | undefined;
  /** Number of desirable responses in the step. */
  desirable: number;
  /** Mean of beta times the log-ratio to the reference; undefined if the step has no such rows. */
  desirableReward: number | undefined;
  undesirableReward: number | undefined;
  /** desirableReward minus undesirableReward. */
  margin: number | undefined;
}

/**
 * Trains `policy` on labelled responses. `start` is the number of steps already done. All native memory of a step is freed before
 * it is yielded.
 * @throws ArgumentError before the first step, for a policy without a reference.
 * @throws ArgumentError before the first step, for a token that the model does not have, or an empty response.
 * @throws ArgumentError before the first step, for the loss `kto` with steps of a single row.
 * @throws NumericsError if `config.maxSkippedSteps` consecutive steps are not finite.
 * @throws NumericsError if the last step is not finite.
 */
export async function* kto(parts: KtoParts, options: KtoConfig, start = 0): AsyncGenerator<KtoStep> {
  checkKinds('kto parts', parts, PARTS);
  checkInteger(start, 0, 'start');
  const config = parseKnown(ktoConfig, options, 'kto');
  checkStepRows(config);
  const { policy, optimizer, batches, labels, validation = [], samples } = parts;
  checkReference(policy);
  if (config.loss === 'bco') checkKinds('kto parts', parts, { rewardMean: instanceOf(RunningMean) });
  checkLabels(labels, policy, 'labels');
  checkLabels(validation, policy, 'validation');
  const measure = (rows: readonly Label[], microBatch: MicroBatch, training: boolean) =>
    measureLabels(parts, config, rows, microBatch, training);
  const tokensOf = ({ prompt, response }: Label) => prompt.length + response.length;
  yield* learnFromRows(
    { policy, optimizer, batches, rows: labels, validation, samples, measure, tokensOf },
    config,
    start,
  );
}

/** @throws ArgumentError for the loss `kto` with steps of one row, which have nobody else's response. */
export function checkStepRows({
  loss,
  batchSize,
  accumulate,
}: Pick<KtoConfig, 'loss' | 'batchSize' | 'accumulate'>): void {
  if (loss !== 'kto' || batchSize * accumulate >= 2) return;
  const fix = 'Use larger batches, at best 32 or more, or the loss apo-zero-unpaired, which needs no others.';
  throw new ArgumentError({ argument: 'batchSize', received: '1', expected: 'at least 2 with the loss kto', fix });
}

function checkLabels(labels: readonly Label[], { model }: Policy, argument: string): void {
  for (const [row, label] of labels.entries()) {
    for (const part of ['prompt', 'response'] as const)
      checkTokens(label[part], model.decoder.numTokens, (t) => `${argument}[${row}].${part}[${t}]`);
    if (label.response.length > 0) continue;
    const expected = 'at least one token, such as the eos';
    throw new ArgumentError({ argument: `${argument}[${row}].response`, received: 'no tokens', expected });
  }
}

type KtoReport = Omit<KtoStep, keyof RecordedStep>;

/**
 * What the rows of a step are measured against is known before any piece of them, so that 2 batches of 4 equal 1 of 8: the
 * log-ratios of mismatched responses for `kto`, the running mean of rewards for `bco`.
 */
async function measureLabels(
  { policy, optimizer, rewardMean }: KtoParts,
  { loss, beta, desirableWeight, undesirableWeight }: KtoConfig,
  rows: readonly Label[],
  microBatch: MicroBatch,
  training: boolean,
): Promise<Measure<Label, keyof KtoMetrics, KtoReport>> {
  const ratiosOf = (all: readonly Sequence[]) =>
    microBatch.fit(optimizer, (size) => logRatiosOf(policy, chunks(all, size)));
  const others = loss === 'kto' ? await ratiosOf(mismatch(rows)) : [];
  const seen = loss === 'bco' && training ? await numbersOf(await ratiosOf(rows)) : [];
  const next = rewardMean?.including(seen.map((ratio) => beta * ratio));
  // A mean that is not finite comes with a loss that is not: the step is skipped.
  const delta = next !== undefined && Number.isFinite(next.mean) ? next.mean : 0;
  const own: KtoLossOptions = { loss, beta, desirableWeight, undesirableWeight };
  if (loss === 'kto') own.mismatched = others;
  if (loss === 'bco') own.delta = delta;
  const good = rows.filter((row) => row.good).length;
  return {
    async loss(some, denominator, options) {
      const share = denominator / rows.length;
      const denominators = { rows: denominator, desirable: good * share, undesirable: (rows.length - good) * share };
      const desirable = some.map((row) => row.good);
      return await compared(policy, some, options, (now, reference, mask) =>
        ktoLoss(now, reference, mask, desirable, { ...own, denominators }),
      );
    },
    report: ({ accuracy, kl, desirableReward, undesirableReward }) => ({
      accuracy,
      kl: loss === 'kto' ? kl : undefined,
      delta: loss === 'bco' ? delta : undefined,
      desirable: good,
      desirableReward: good > 0 ? desirableReward : undefined,
      undesirableReward: good < rows.length ? undesirableReward : undefined,
      margin: good > 0 && good < rows.length ? desirableReward - undesirableReward : undefined,
    }),
    learned: () => next !== undefined && rewardMean?.restore(next),
    dispose() {
      for (const ratios of others) ratios.dispose();
    },
  };
}

type Sequence = Pick<Label, 'prompt' | 'response'>;

/** Calls `use` with the log-probabilities of responses under policy and reference, and the mask of response tokens. */
async function compared<T>(
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
  using now = await policy.logProb(sequence, options);
  using reference = await policy.referenceLogProb(sequence);
  return await use(now.logProb, reference, responseMask);
}

/** The log-ratios of responses to the reference, a tensor for each piece, without a graph. */
async function logRatiosOf(policy: Policy, pieces: readonly (readonly Sequence[])[]): Promise<Tensor[]> {
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

/** Every prompt with the response to the next other prompt among the rows; a prompt without any other is left out. */
export function mismatch(rows: readonly Label[]): Sequence[] {
  const prompts = rows.map(({ prompt }) => prompt.join());
  return rows.flatMap(({ prompt }, i) => {
    const next = rows.findIndex((_, ahead) => prompts[(i + ahead) % rows.length] !== prompts[i]);
    return next < 0 ? [] : [{ prompt, response: (rows[(i + next) % rows.length] as Label).response }];
  });
}
