/** Shared by trainers of policies that learn from recorded feedback, without sampling. */
import type { DpoConfig } from '../config/dpo.ts';
import { instanceOf } from '../checks/kinds.ts';
import type { Batches } from '../data/batches.ts';
import { ArgumentError } from '../errors.ts';
import type { PreferenceDenominators, PreferenceMetrics } from '../losses/preference.ts';
import { Mean } from '../metrics/mean.ts';
import type { Sample } from '../metrics/metrics.ts';
import { type LogProb, Policy } from '../models/policy.ts';
import type { Optimizer } from '../optim.ts';
import type { Preference } from '../data/preferences.ts';
import type { Loss } from '../tensor/loss.ts';
import { type Tensor, type TensorGroup, useDeterministic } from '../tensor/tensor.ts';
import { MicroBatch } from './out-of-memory.ts';
import { checkPairs, PAIR_PARTS, type PairParts, type PairStep, pairSteps, tokensOf } from './pairs.ts';
import { itemsAt } from './parts.ts';
import { responseRows } from './response-rows.ts';
import { chunks } from './rollouts.ts';
import { answerSamples, SAMPLE_PROMPTS, type SamplePrompts } from './samples.ts';
import { defaultPolicyRate, learningRate, skipsAllowed } from './schedule.ts';
import { update } from './update.ts';

/** The options that all such trainers have. */
export type RecordedConfig = Pick<
  DpoConfig,
  | 'epochs'
  | 'batchSize'
  | 'accumulate'
  | 'lr'
  | 'minLr'
  | 'warmupSteps'
  | 'maxGradNorm'
  | 'maxSkippedSteps'
  | 'evaluateEvery'
  | 'deterministic'
  | 'seed'
>;

/** How the rows of a step, or of an evaluation, are measured once all of them are known. */
export interface Measure<Row, Name extends string, Report> {
  /** The loss of some of the rows: a sum, divided by `denominator`. Metrics add up in the same way. */
  loss(rows: readonly Row[], denominator: number, options: { grad: boolean }): Promise<Loss<Name>>;
  /** What a step reports of the metrics of all its rows. */
  report(metrics: Record<Name, number>): Report;
  /** What an evaluation of all rows reports besides loss and accuracy. */
  heldOut?(): Partial<Report>;
  /** Called after a step that changed weights. */
  learned?(): void;
  dispose?(): void;
}

/** The metrics of a step that all such trainers have. */
export interface RecordedStep extends PairStep {
  /** Answers to the prompts of `samples`, at evaluations; otherwise undefined. */
  samples: Sample[] | undefined;
}

/** What is trained, and on what. */
interface Task<Row, Name extends string, Report> {
  policy: Policy;
  optimizer: Optimizer;
  batches: Batches;
  rows: readonly Row[];
  validation: readonly Row[];
  samples?: SamplePrompts | undefined;
  /** Says how to measure `rows`, those of a step or of an evaluation; `microBatch` says how many fit into memory. */
  measure(rows: readonly Row[], microBatch: MicroBatch, training: boolean): Promise<Measure<Row, Name, Report>>;
  /** Number of tokens that the policy reads. */
  tokensOf(row: Row): number;
}

/** Trains a policy on batches of recorded rows. `start` is the number of steps already done. */
export async function* learnFromRows<Row, Name extends string, Report extends object>(
  { policy, optimizer, batches, rows, validation, samples, measure, tokensOf }: Task<Row, Name | 'accuracy', Report>,
  config: RecordedConfig,
  start: number,
): AsyncGenerator<RecordedStep & Report> {
  if (config.deterministic) await useDeterministic(true);
  const steps = pairSteps(rows.length, config);
  const schedule = { ...config, lr: config.lr ?? defaultPolicyRate(policy), steps, decay: 'cosine' as const };
  const microBatch = new MicroBatch(config.batchSize);
  const answering = { seed: config.seed, scope: policy.scopes[0] };
  for (let step = start; step < steps; step++) {
    const began = performance.now();
    optimizer.learningRate = learningRate(step, schedule);

    const all = Array.from({ length: config.accumulate }, () => itemsAt(rows, batches.next(), 'rows'));
    const measured = await measure(all.flat(), microBatch, true);
    const { loss, pieces, gradNorm, skipped } = await update(
      { optimizer, microBatch },
      all,
      {
        denominator: all.flat().length,
        maxGradNorm: config.maxGradNorm,
        maxSkipped: skipsAllowed(step, steps, config),
      },
      (some, denominator) => measured.loss(some, denominator, { grad: true }),
    ).finally(() => measured.dispose?.());
    if (!skipped) measured.learned?.();

    const seconds = (performance.now() - began) / 1000;
    const done = step + 1;
    const evaluates = validation.length > 0 && (done % config.evaluateEvery === 0 || done === steps);
    const held = evaluates ? await evaluate(validation, microBatch, measure, config.batchSize) : undefined;
    const metrics = new Mean<Name | 'accuracy'>();
    for (const piece of pieces) metrics.add(piece.metrics);
    yield {
      step: done,
      loss,
      ...measured.report(metrics.sum()),
      ...held?.report,
      validationLoss: held?.loss,
      validationAccuracy: held?.accuracy,
      gradNorm,
      learningRate: optimizer.learningRate,
      skipped: skipped ? 1 : undefined,
      microBatch: microBatch.reduced,
      samples: evaluates && samples ? await answerSamples(policy.model, samples, answering) : undefined,
      timing: { seconds, tokensPerSecond: all.flat().reduce((sum, row) => sum + tokensOf(row), 0) / seconds },
    };
  }
}

/** Loss and accuracy on all `rows`, `size` at a time. */
async function evaluate<Row, Report extends object>(
  rows: readonly Row[],
  microBatch: MicroBatch,
  measure: Task<Row, 'accuracy', Report>['measure'],
  size: number,
) {
  const measured = await measure(rows, microBatch, false);
  try {
    let loss = 0;
    let right = 0;
    for (const some of chunks(rows, size)) {
      using share = await measured.loss(some, 1, { grad: false }); // divided at the end: an accuracy of 1 is exactly 1
      loss += await share.item();
      right += (await share.metrics()).accuracy;
    }
    return { loss: loss / rows.length, accuracy: right / rows.length, report: measured.heldOut?.() };
  } finally {
    measured.dispose?.();
  }
}

/** The parts of a run that trains a policy on pairs. They hold all mutable training state; saving them saves the run. */
export interface PolicyPairParts extends PairParts {
  /** Trained by `optimizer`. */
  policy: Policy;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

/** The kinds of `PolicyPairParts`, for `checkKinds`. */
export const POLICY_PAIR_PARTS = { policy: instanceOf(Policy), ...PAIR_PARTS, samples: SAMPLE_PROMPTS };

/** The metrics of a step. Those of the loss are of its pairs before the update. */
export interface PreferenceStep extends RecordedStep, PreferenceMetrics {}

/** What is known of all pairs of a step before the loss of any piece of them. */
export interface Known {
  /** The mean of all rewards so far; the metric `delta`. */
  delta?: number | undefined;
  /** Called after a step that changed weights. */
  learned?(): void;
}

/** How a method compares pairs. */
interface PairMethod<Metrics, Read extends LogProb> {
  /** What the loss reads of `sequence` [2N, T], chosen responses before rejected ones. */
  read(sequence: Tensor, options: { grad: boolean }): Promise<TensorGroup<Read>>;
  /** The loss of such rows, from what was read. */
  lossOf(
    rows: Read & { responseMask: Tensor },
    denominators: Required<PreferenceDenominators>,
    known: Known,
  ): Promise<Loss<keyof Metrics & string>>;
  know?(pairs: readonly Preference[], microBatch: MicroBatch, training: boolean): Promise<Known>;
}

/**
 * Trains a policy on pairs by the loss of a method. Every piece of a step is divided by the counts of the whole step, so that 2
 * batches of 4 equal 1 of 8.
 * @throws ArgumentError for a token that the model does not have, or an empty response.
 */
export async function* learnFromPairs<Metrics extends PreferenceMetrics, Read extends LogProb = LogProb>(
  { policy, pairs, validation = [], ...parts }: PolicyPairParts,
  config: RecordedConfig,
  start: number,
  { read, lossOf, know }: PairMethod<Metrics, Read>,
): AsyncGenerator<RecordedStep & Metrics> {
  for (const [argument, some] of Object.entries({ pairs, validation })) {
    checkPairs(some, policy.model, argument);
    checkResponses(some, argument);
  }
  const measure = async (
    all: readonly Preference[],
    microBatch: MicroBatch,
    training: boolean,
  ): Promise<Measure<Preference, keyof Metrics & string, Metrics>> => {
    const { learned, ...known } = (await know?.(all, microBatch, training)) ?? {};
    return {
      loss: async (some, denominator, options) => {
        const prompts = some.map(({ prompt }) => prompt);
        const responses = [...some.map(({ chosen }) => chosen), ...some.map(({ rejected }) => rejected)];
        const rows = responseRows([...prompts, ...prompts], responses);
        using sequence = rows.sequence;
        using responseMask = rows.responseMask;
        using now = await read(sequence, options);
        const nllDenominator = (chosenTokens(all) * denominator) / all.length;
        return await lossOf({ ...now, responseMask }, { denominator, nllDenominator }, known);
      },
      report: (metrics) => ({ ...known, ...metrics }) as Metrics,
      ...(learned && { learned }),
    };
  };
  yield* learnFromRows({ policy, ...parts, rows: pairs, validation, measure, tokensOf }, config, start);
}

function chosenTokens(pairs: readonly Preference[]): number {
  return pairs.reduce((sum, { chosen }) => sum + chosen.length, 0);
}

/** An empty response has nothing to make likelier, and no mean. */
function checkResponses(pairs: readonly Preference[], argument: string): void {
  for (const [row, pair] of pairs.entries()) {
    for (const part of ['chosen', 'rejected'] as const) {
      if (pair[part].length > 0) continue;
      const expected = 'at least one token, such as the eos';
      throw new ArgumentError({ argument: `${argument}[${row}].${part}`, received: 'no tokens', expected });
    }
  }
}

/** @throws ArgumentError for a policy without a reference. */
export function checkReference(policy: Policy): void {
  if (policy.hasReference) return;
  throw new ArgumentError({
    argument: 'parts.policy',
    received: 'a policy without a reference',
    expected: 'a policy with a reference',
    fix: 'Create the policy with { reference: true }.',
  });
}
