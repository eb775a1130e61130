/** Kahneman-Tversky optimisation (Ethayarajh et al. 2024), and two more losses of labelled responses. docs/kto.md has the formulas. */
import { type KtoConfig, ktoConfig } from '../config/kto.ts';
import { parseKnown } from '../config/schema.ts';
import { checkKinds, instanceOf, optional } from '../checks/kinds.ts';
import { checkInteger } from '../checks/options.ts';
import type { Label } from '../data/labels.ts';
import { ArgumentError } from '../errors.ts';
import { type KtoLossOptions, type KtoMetrics, ktoLoss } from '../losses/kto.ts';
import { Policy } from '../models/policy.ts';
import { LABEL_PARTS, LabelCounts, type LabelParts, type LabelStep, learnFromLabels } from './labels.ts';
import { compared, deltaWith, logRatiosOf, RunningMean, type Sequence } from './log-ratios.ts';
import type { MicroBatch } from './out-of-memory.ts';
import type { Measure, RecordedStep } from './recorded.ts';
import { chunks } from './rollouts.ts';

/** The parts of a KTO run. They hold all mutable training state, so saving them and the step number saves the run. */
export interface KtoParts extends LabelParts {
  /** Trained by `optimizer`; it has a reference. */
  policy: Policy;
  /** The mean of the rewards so far; needed by the loss `bco`. */
  rewardMean?: RunningMean | undefined;
}

const PARTS = { policy: instanceOf(Policy), ...LABEL_PARTS, rewardMean: optional(instanceOf(RunningMean)) };

/** The metrics of a step. Those of the loss are of its rows before the update. */
export interface KtoStep extends LabelStep {
  /** z0, the estimated KL to the reference in nats per response; undefined for other losses than `kto`. */
  kl: number | undefined;
  /** The mean of all rewards so far; undefined for other losses than `bco`. */
  delta: number | undefined;
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
  if (config.loss === 'bco') checkKinds('kto parts', parts, { rewardMean: instanceOf(RunningMean) });
  yield* learnFromLabels(parts, config, start, (rows, microBatch, training) =>
    measureLabels(parts, config, rows, microBatch, training),
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
  const counts = new LabelCounts(rows);
  return {
    async loss(some, denominator, options) {
      const denominators = counts.denominators(denominator);
      const desirable = some.map((row) => row.good);
      return await compared(policy, some, options, (now, reference, mask) =>
        ktoLoss(now, reference, mask, desirable, { ...own, denominators }),
      );
    },
    report: (metrics) => ({
      ...counts.report(metrics),
      kl: loss === 'kto' ? metrics.kl : undefined,
      delta: loss === 'bco' ? delta : undefined,
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
