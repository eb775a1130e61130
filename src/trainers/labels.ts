/** Shared by trainers of policies that learn from labelled responses. */
import { instanceOf, optional } from '../checks/kinds.ts';
import type { Batches } from '../data/batches.ts';
import type { Label } from '../data/labels.ts';
import { ArgumentError } from '../errors.ts';
import type { Policy } from '../models/policy.ts';
import { Optimizer } from '../optim.ts';
import { checkTokens } from './check-tokens.ts';
import type { MicroBatch } from './out-of-memory.ts';
import { BATCHES, LABELS } from './parts.ts';
import { checkReference, learnFromRows, type Measure, type RecordedConfig, type RecordedStep } from './recorded.ts';
import { SAMPLE_PROMPTS, type SamplePrompts } from './samples.ts';

/** The parts that all such trainers have, apart from the policy. */
export interface LabelParts {
  /** The optimizer of the policy's parameters. */
  optimizer: Optimizer;
  /** The labelled responses to train on. */
  labels: readonly Label[];
  /** Selects the next of `labels`, `config.batchSize` at a time. */
  batches: Batches;
  /** Held-out labelled responses; without them there are no validation metrics. */
  validation?: readonly Label[] | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

/** The kinds of `LabelParts`, for `checkKinds`. */
export const LABEL_PARTS = {
  optimizer: instanceOf(Optimizer),
  labels: LABELS,
  batches: BATCHES,
  validation: optional(LABELS),
  samples: SAMPLE_PROMPTS,
};

/** The metrics of a step that all such trainers have. Those of the loss are of its rows before the update. */
export interface LabelStep extends RecordedStep {
  /** Share of rows whose reward is on the right side of the reference point; those on it count half. */
  accuracy: number;
  /** Number of desirable responses in the step. */
  desirable: number;
  /** Mean of beta times the log-ratio to the reference; undefined if the step has no such rows. */
  desirableReward: number | undefined;
  undesirableReward: number | undefined;
  /** desirableReward minus undesirableReward. */
  margin: number | undefined;
}

/** What the loss of such a trainer measures. */
type Metric = 'accuracy' | 'desirableReward' | 'undesirableReward';

/** How many of some rows are desirable; what sums over a share of them are divided by, and what is reported of all. */
export class LabelCounts {
  readonly #rows: number;
  readonly #good: number;

  constructor(rows: readonly Label[]) {
    this.#rows = rows.length;
    this.#good = rows.filter(({ good }) => good).length;
  }

  /** The denominators of a loss whose sum over rows is divided by `denominator`. */
  denominators(denominator: number): { rows: number; desirable: number; undesirable: number } {
    const share = denominator / this.#rows;
    return {
      rows: denominator,
      desirable: this.#good * share,
      undesirable: (this.#rows - this.#good) * share,
    };
  }

  /** What a step of these rows reports. */
  report({
    accuracy,
    desirableReward,
    undesirableReward,
  }: Record<Metric, number>): Omit<LabelStep, keyof RecordedStep> {
    const [good, bad] = [this.#good > 0, this.#good < this.#rows];
    return {
      accuracy,
      desirable: this.#good,
      desirableReward: good ? desirableReward : undefined,
      undesirableReward: bad ? undesirableReward : undefined,
      margin: good && bad ? desirableReward - undesirableReward : undefined,
    };
  }
}

/**
 * Trains `policy` on labelled responses; `measure` is as in `learnFromRows`.
 * @throws ArgumentError for a policy without a reference, a token that the model does not have, or an empty response.
 */
export async function* learnFromLabels<Name extends string, Report extends object>(
  { policy, optimizer, batches, labels, validation = [], samples }: LabelParts & { policy: Policy },
  config: RecordedConfig,
  start: number,
  measure: (
    rows: readonly Label[],
    microBatch: MicroBatch,
    training: boolean,
  ) => Promise<Measure<Label, Name | 'accuracy', Report>>,
): AsyncGenerator<RecordedStep & Report> {
  checkReference(policy);
  checkLabels(labels, policy, 'labels');
  checkLabels(validation, policy, 'validation');
  const tokensOf = ({ prompt, response }: Label) => prompt.length + response.length;
  yield* learnFromRows(
    { policy, optimizer, batches, rows: labels, validation, samples, measure, tokensOf },
    config,
    start,
  );
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
