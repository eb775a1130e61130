/** Kahneman-Tversky optimisation (Ethayarajh et al. 2024), and two more losses of labelled responses. docs/kto.md has the formulas. */
import { type KtoConfig, ktoConfig } from '../config/kto.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { Batches } from '../data/batches.ts';
import type { Label } from '../data/labels.ts';
import { ArgumentError } from '../errors.ts';
import { type KtoLossOptions, type KtoMetrics, ktoLoss } from '../losses/kto.ts';
import { Policy } from '../models/policy.ts';
import { Optimizer } from '../optim.ts';
import { checkTokens } from './check-tokens.ts';
import { compared, deltaWith, logRatiosOf, RunningMean, type Sequence } from './log-ratios.ts';
import type { MicroBatch } from './out-of-memory.ts';
import { BATCHES, LABELS } from './parts.ts';
import { checkReference, learnFromRows, type Measure, type RecordedStep } from './recorded.ts';
import { chunks } from './rollouts.ts';
import { SAMPLE_PROMPTS, type SamplePrompts } from './samples.ts';

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
  const learning = rewardMean && training ? { policy, optimizer, microBatch, beta } : undefined;
  const next = rewardMean && learning && (await deltaWith(rewardMean, rows, learning));
  const delta = next?.delta ?? rewardMean?.mean ?? 0;
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
    learned: () => next?.learned(),
    dispose() {
      for (const ratios of others) ratios.dispose();
    },
  };
}

/** Every prompt with the response to the next other prompt among the rows; a prompt without any other is left out. */
export function mismatch(rows: readonly Label[]): Sequence[] {
  const prompts = rows.map(({ prompt }) => prompt.join());
  return rows.flatMap(({ prompt }, i) => {
    const next = rows.findIndex((_, ahead) => prompts[(i + ahead) % rows.length] !== prompts[i]);
    return next < 0 ? [] : [{ prompt, response: (rows[(i + next) % rows.length] as Label).response }];
  });
}
