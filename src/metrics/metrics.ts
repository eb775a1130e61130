/** Numbers by name. Metrics depend only on the run; times and speeds belong in `timing`. */
export type Numbers = { readonly [name: string]: number | undefined };

/** A token of an answer, and what is known of it. Numbers have four significant digits, as they are for people to see. */
export interface SampleToken {
  readonly id: number;
  /** What it adds to the text of the answer: nothing for a special token or half a character; undefined without a tokenizer. */
  readonly text?: string | undefined;
  /** log p minus that of the reference policy, in nats; undefined without a reference. */
  readonly logRatio?: number | undefined;
  /** The score, at the last token, minus the KL penalty; undefined where the method has no reward for each token. */
  readonly reward?: number | undefined;
  /** The advantage that the policy learned from; undefined where the method has none. */
  readonly advantage?: number | undefined;
}

/** An answer of the model during training, for people to read. */
export interface Sample {
  /** The text, or the token ids if the trainer has no tokenizer. */
  readonly prompt: string | readonly number[];
  readonly response: string | readonly number[];
  /** The raw score; undefined if nothing scores it. */
  readonly score?: number | undefined;
  /** log p of the response minus that of the reference policy, in nats; undefined without a reference. */
  readonly kl?: number | undefined;
  /** The first 256 tokens of the response; undefined for answers that are not learned from. */
  readonly tokens?: readonly SampleToken[] | undefined;
}

/** What a training step reports: its number (steps completed, from 1), its metrics in display order, and its timing. */
export interface StepMetrics {
  readonly step: number;
  /** Times and speeds, such as `seconds` and `tokensPerSecond`, kept apart because they are never the same twice. */
  readonly timing?: Numbers;
  /** Some answers, if the step has any to show. */
  readonly samples?: readonly Sample[];
  /** Undefined if a step has no such metric. */
  readonly [name: string]: number | undefined | Numbers | readonly Sample[];
}

/** A destination for metrics. */
export interface MetricsSink {
  /** Writes one step; await it before the next. */
  write(step: StepMetrics): void | Promise<void>;
  /** Called before a checkpoint is saved: resolves once everything written is on disk. */
  flush?(): Promise<void>;
  /** Resolves once everything written has been flushed. */
  close(): Promise<void>;
}

/** Splits a step into its metrics, its timing and its samples. */
export function splitStep({ step, timing = {}, samples = [], ...metrics }: StepMetrics): {
  step: number;
  metrics: Numbers;
  timing: Numbers;
  samples: readonly Sample[];
} {
  return { step, metrics: metrics as Numbers, timing, samples };
}

/** Whether a step was evaluated on held-out data: it has a metric whose name begins with `validation`. */
export function isEvaluation(metrics: Numbers): boolean {
  return Object.entries(metrics).some(([name, value]) => name.startsWith('validation') && value !== undefined);
}
