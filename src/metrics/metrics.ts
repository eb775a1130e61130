/** Numbers by name. Those of metrics.jsonl depend on nothing but the run; times and speeds do not belong here. */
export type Numbers = { readonly [name: string]: number | undefined };

/** What a step of training tells: its number (steps done, from 1), its metrics in reading order, and how long it took. */
export interface StepMetrics {
  readonly step: number;
  /** Times and speeds, such as `seconds` and `tokensPerSecond`: never the same twice, so they are kept apart. */
  readonly timing?: Numbers;
  /** Undefined where a step has no such number. */
  readonly [name: string]: number | undefined | Numbers;
}

/** A place that metrics go to. */
export interface MetricsSink {
  /** Takes one step; await it before the next. */
  write(step: StepMetrics): void | Promise<void>;
  /** Everything written is out when this resolves. */
  close(): Promise<void>;
}

/** The two halves of a step: what belongs to the run, and its times. */
export function splitStep({ step, timing = {}, ...metrics }: StepMetrics): {
  step: number;
  metrics: Numbers;
  timing: Numbers;
} {
  return { step, metrics: metrics as Numbers, timing };
}
