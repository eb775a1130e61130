/** Numbers by name. Metrics depend only on the run; times and speeds belong in `timing`. */
export type Numbers = { readonly [name: string]: number | undefined };

/** What a training step reports: its number (steps completed, from 1), its metrics in display order, and its timing. */
export interface StepMetrics {
  readonly step: number;
  /** Times and speeds, such as `seconds` and `tokensPerSecond`, kept apart because they are never the same twice. */
  readonly timing?: Numbers;
  /** Undefined if a step has no such metric. */
  readonly [name: string]: number | undefined | Numbers;
}

/** A destination for metrics. */
export interface MetricsSink {
  /** Writes one step; await it before the next. */
  write(step: StepMetrics): void | Promise<void>;
  /** Resolves once everything written has been flushed. */
  close(): Promise<void>;
}

/** Splits a step into its metrics and its timing. */
export function splitStep({ step, timing = {}, ...metrics }: StepMetrics): {
  step: number;
  metrics: Numbers;
  timing: Numbers;
} {
  return { step, metrics: metrics as Numbers, timing };
}
