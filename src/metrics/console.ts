import { type MetricsSink, type Numbers, type StepMetrics, splitStep } from './metrics.ts';

/** The part of a stream such as process.stderr that is used here. */
export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Milliseconds between two updates: a terminal line is rewritten more often than a log gets a line. */
const TERMINAL_INTERVAL = 100;
const LOG_INTERVAL = 1000;

/**
 * Shows the progress of a run of `total` steps: on a terminal as one line rewritten in place, elsewhere as plain lines
 * at least a second apart. The first and last steps are always shown. A metric that a step lacks keeps its last value.
 */
export class ConsoleMetrics implements MetricsSink {
  private readonly total: number;
  private readonly stream: ProgressStream;
  private readonly now: () => number;
  private readonly terminal: boolean;
  private first: { step: number; at: number } | undefined;
  private shownAt = Number.NEGATIVE_INFINITY;
  private step = 0;
  private metrics: Numbers = {};
  private timing: Numbers = {};
  private waiting = false;

  /** @param now a monotonic clock in milliseconds */
  constructor(total: number, stream: ProgressStream = process.stderr, now: () => number = () => performance.now()) {
    this.total = total;
    this.stream = stream;
    this.now = now;
    this.terminal = stream.isTTY === true && process.env.TERM !== 'dumb';
  }

  write(row: StepMetrics): void {
    const { step, metrics, timing } = splitStep(row);
    this.step = step;
    this.metrics = { ...this.metrics, ...defined(metrics) };
    this.timing = { ...this.timing, ...defined(timing) };
    this.first ??= { step, at: this.now() };
    this.waiting = true;
    const interval = this.terminal ? TERMINAL_INTERVAL : LOG_INTERVAL;
    if (step >= this.total || this.now() - this.shownAt >= interval) this.show();
  }

  /** Shows the last step if it is still pending, and moves the cursor to a new line. */
  async close(): Promise<void> {
    if (this.waiting) this.show();
    if (this.terminal && this.first !== undefined) this.stream.write('\n');
    this.first = undefined;
  }

  private show(): void {
    this.shownAt = this.now();
    this.waiting = false;
    const line = this.line();
    // Return to the start and erase. A line as wide as the terminal would wrap, and could not be rewritten.
    this.stream.write(this.terminal ? `\r\x1b[2K${line.slice(0, (this.stream.columns ?? 80) - 1)}` : `${line}\n`);
  }

  private line(): string {
    const { loss, ...others } = this.metrics;
    const { tokensPerSecond } = this.timing;
    return [
      `step ${String(this.step).padStart(String(this.total).length)}/${this.total}`,
      ...(loss === undefined ? [] : [`loss ${formatNumber(loss)}`]),
      ...(tokensPerSecond === undefined ? [] : [`${formatCount(tokensPerSecond)} tokens/s`]),
      ...this.remaining(),
      ...Object.entries(others).map(([name, value]) => `${name} ${formatNumber(value as number)}`),
    ].join('  ');
  }

  /** The estimated time for the remaining steps, at the mean speed since the first step written. */
  private remaining(): string[] {
    const { step, at } = this.first ?? { step: 0, at: 0 };
    if (this.step <= step || this.step >= this.total) return [];
    const perStep = (this.now() - at) / (this.step - step);
    return [`ETA ${formatDuration((perStep * (this.total - this.step)) / 1000)}`];
  }
}

function defined(numbers: Numbers): Numbers {
  return Object.fromEntries(Object.entries(numbers).filter(([, value]) => value !== undefined));
}

/** Four significant digits; integers and non-finite numbers are printed as they are. */
function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || (Number.isInteger(value) && size < 1e6)) return String(value);
  return size >= 1e-3 && size < 1e4 ? value.toPrecision(4) : value.toExponential(2);
}

/** 999, 1.2k, 34k, 5.6M. */
function formatCount(value: number): string {
  if (!(value >= 999.5)) return value.toFixed(0);
  const [scaled, unit] = value < 999_500 ? [value / 1e3, 'k'] : [value / 1e6, 'M'];
  return `${scaled.toFixed(scaled < 9.95 ? 1 : 0)}${unit}`;
}

/** 45s, 12m 03s, 3h 07m. */
function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const pad = (value: number) => String(value).padStart(2, '0');
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h ${pad(Math.floor((whole % 3600) / 60))}m`;
}
