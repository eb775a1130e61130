import { checkKinds, COUNT, FUNCTION, having, LIST, optional } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { printable } from '../errors.ts';
import { formatCount, formatDuration, formatNumber } from './format.ts';
import { isEvaluation, type MetricsSink, type Numbers, type Sample, splitStep, type StepMetrics } from './metrics.ts';
import { Course, sparkline } from './sparkline.ts';

/** The part of a stream such as process.stderr that is used here. */
export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** How a run is shown. */
export interface ProgressOptions {
  /** Total number of steps. */
  steps: number;
  /** Names of the metrics to show, the most important first; the first is drawn as a curve. Defaults to those of the first step. */
  watched?: readonly string[] | undefined;
  /** Steps between lines. By default a line is due when a tenth of the time of the run has passed since the last one. */
  logEvery?: number | undefined;
  /** Steps between checkpoints, each of which gets a line. */
  checkpointEvery?: number | undefined;
  /** Defaults to stderr. */
  stream?: ProgressStream | undefined;
  /** A monotonic clock in milliseconds. */
  now?: (() => number) | undefined;
}

const OPTIONS = {
  steps: COUNT,
  watched: optional(LIST),
  logEvery: optional(COUNT),
  checkpointEvery: optional(COUNT),
  stream: optional(having('a stream', 'write')),
  now: optional(FUNCTION),
};

/** Milliseconds between two updates of the line at the bottom of a terminal. */
const UPDATE_INTERVAL = 100;
/** Bounds of the milliseconds between two lines. A terminal, whose bottom line is alive, needs fewer of them. */
const LOG_INTERVAL = { min: 1000, max: 300_000 };
const TERMINAL_INTERVAL = { min: 10_000, max: 300_000 };
/** At most so many metrics have a column. */
const MAX_COLUMNS = 5;
/** Characters of a column of numbers, and of the remaining time. */
const CELL = 8;
const TIME_CELL = 7;
/** Lines after which the header is shown again. */
const HEADER_EVERY = 20;
/** Answers that are printed at a time. */
const SHOWN_SAMPLES = 2;
/** Width of an answer and its numbers, if the terminal is wider. */
const MAX_SAMPLE = 100;
const MAX_SPARKLINE = 40;

/** Column titles of metrics whose names are too long for a column. */
const TITLES: Readonly<Record<string, string>> = {
  validationLoss: 'val.loss',
  validationAccuracy: 'val.acc.',
  validationError: 'val.err.',
  responseLength: 'length',
  learningRate: 'lr',
};

/**
 * Shows the progress of a run as a table: a line for the first and last step, each evaluation and each checkpoint, and others
 * as time passes. Every number is a mean over the steps since the line before; one that no step reported is left out. A line has
 * a `*` if one of its steps is the best so far, which the metric `best` says. On a terminal a line below the table, which is
 * rewritten in place, shows the steps since, and the curve of the main metric.
 */
export class ConsoleMetrics implements MetricsSink {
  readonly #options: ProgressOptions;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #terminal: boolean;
  #columns: readonly string[] | undefined;
  #first: { step: number; at: number } | undefined;
  #course: Course;
  /** The rows since the last line. */
  #waiting = new Means();
  #step = 0;
  /** Whether the best step so far is among those since the last line. */
  #hasBest = false;
  #lineAt = 0;
  #updatedAt = Number.NEGATIVE_INFINITY;
  #lines = 0;

  /** @throws ArgumentError for an unknown or wrong option. */
  constructor(options: ProgressOptions) {
    checkOptions(options, Object.keys(OPTIONS), 'ConsoleMetrics');
    checkKinds('ConsoleMetrics', options, OPTIONS);
    const { stream = process.stderr, now = () => performance.now(), watched } = options;
    this.#options = options;
    this.#stream = stream;
    this.#now = now;
    this.#terminal = stream.isTTY === true && process.env.TERM !== 'dumb';
    this.#columns = watched?.slice(0, MAX_COLUMNS);
    this.#course = new Course(MAX_SPARKLINE);
  }

  write(row: StepMetrics): void {
    const { step, metrics, timing, samples } = splitStep(row);
    const isFirst = this.#first === undefined;
    this.#first ??= { step, at: this.#now() };
    this.#columns ??= Object.keys(metrics).slice(0, MAX_COLUMNS);
    this.#step = step;
    if (metrics.best !== undefined) this.#hasBest = true;
    this.#waiting.add({ ...metrics, tokensPerSecond: timing.tokensPerSecond });
    const main = metrics[this.#columns[0] ?? ''];
    if (main !== undefined) this.#course.add(main);
    const { steps, checkpointEvery = Number.POSITIVE_INFINITY } = this.#options;
    const mark = isEvaluation(metrics) || step % checkpointEvery === 0;
    if (isFirst || step >= steps || mark || this.#isDue()) this.#line();
    else if (this.#terminal && this.#now() - this.#updatedAt >= UPDATE_INTERVAL) this.#update();
    if (Number(metrics.skipped ?? 0) > 0) this.#print(`step ${step}: skipped an update that was not finite\n`);
    this.#show(samples);
  }

  /** Shows the steps since the last line. */
  async close(): Promise<void> {
    if (!this.#waiting.isEmpty) this.#line();
    this.#first = undefined;
  }

  /** Whether the next line is due, by the steps or the time since the last one. */
  #isDue(): boolean {
    const { logEvery } = this.#options;
    if (logEvery !== undefined) return this.#step % logEvery === 0;
    const { min, max } = this.#terminal ? TERMINAL_INTERVAL : LOG_INTERVAL;
    const elapsed = this.#now() - (this.#first?.at ?? 0);
    return this.#now() - this.#lineAt >= Math.min(max, Math.max(min, elapsed / 10));
  }

  #line(): void {
    if (this.#lines++ % HEADER_EVERY === 0) this.#print(`${this.#header()}\n`);
    this.#print(`${this.#cells().join(' ')}\n`);
    this.#waiting = new Means();
    this.#hasBest = false;
    this.#lineAt = this.#now();
    this.#updatedAt = this.#now();
  }

  #update(): void {
    const width = (this.#stream.columns ?? 80) - 1; // a line as wide as the terminal would wrap
    const line = this.#cells().join(' ');
    const room = Math.min(MAX_SPARKLINE, width - line.length - 1);
    const curve = room < 4 ? '' : sparkline(this.#course.values(), room);
    this.#stream.write(`\r\x1b[2K${`${line} ${curve}`.slice(0, width)}`);
    this.#updatedAt = this.#now();
  }

  /** Prints whole lines, in place of the line at the bottom. */
  #print(lines: string): void {
    this.#stream.write(this.#terminal ? `\r\x1b[2K${lines}` : lines);
  }

  #show(samples: readonly Sample[]): void {
    const width = Math.min((this.#terminal && this.#stream.columns) || 80, MAX_SAMPLE) - 1;
    for (const { prompt, response, score, kl } of samples.slice(0, SHOWN_SAMPLES)) {
      const numbers = Object.entries({ score, kl }).filter(([, value]) => value !== undefined);
      const told = numbers.map(([name, value]) => `  ${name} ${formatNumber(value as number)}`).join('');
      // Of a long prompt the end says more about the answer.
      this.#print(`${fitted(`  > ${printable(prompt.slice(4 - width))}`, width).trimEnd()}\n`);
      this.#print(`${`${fitted(`    ${printable(response)}`, width - told.length)}${told}`.trimEnd()}\n`);
    }
  }

  #header(): string {
    const titles = (this.#columns ?? []).map((name) => TITLES[name] ?? name);
    const cells = [...titles, 'tokens/s'].map((title) => title.slice(0, CELL).padStart(CELL));
    return [`step/${this.#options.steps}`, ...cells, 'ETA'.padStart(TIME_CELL)].join(' ');
  }

  #cells(): string[] {
    const means = this.#waiting.result();
    const cell = (text: string) => text.padStart(CELL);
    const { tokensPerSecond } = means;
    return [
      `${this.#hasBest ? '*' : ''}${this.#step}`.padStart(`step/${this.#options.steps}`.length),
      ...(this.#columns ?? []).map((name) => cell(means[name] === undefined ? '' : formatNumber(means[name]))),
      cell(tokensPerSecond === undefined ? '' : formatCount(tokensPerSecond)),
      this.#remaining().padStart(TIME_CELL),
    ];
  }

  /** The estimated time for the remaining steps, at the mean speed since the first step written. */
  #remaining(): string {
    const { step, at } = this.#first ?? { step: 0, at: 0 };
    if (this.#step <= step || this.#step >= this.#options.steps) return '';
    const perStep = (this.#now() - at) / (this.#step - step);
    return formatDuration((perStep * (this.#options.steps - this.#step)) / 1000);
  }
}

/** Means of numbers that not every step has. */
class Means {
  readonly #sums = new Map<string, { sum: number; count: number }>();
  #rows = 0;

  get isEmpty(): boolean {
    return this.#rows === 0;
  }

  add(numbers: Numbers): void {
    this.#rows++;
    for (const [name, value] of Object.entries(numbers)) {
      if (value === undefined) continue;
      const { sum, count } = this.#sums.get(name) ?? { sum: 0, count: 0 };
      this.#sums.set(name, { sum: sum + value, count: count + 1 });
    }
  }

  result(): Numbers {
    return Object.fromEntries([...this.#sums].map(([name, { sum, count }]) => [name, sum / count]));
  }
}

function fitted(text: string, width: number): string {
  return text.length <= width ? text.padEnd(width) : `${text.slice(0, width - 1)}…`;
}
