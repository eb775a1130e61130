/** Limits that end a run whose policy leaves what its reward can judge; docs/stopping.md says how each is measured. */
import { checkKinds, COUNT, NUMBER, optional, POSITIVE } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { ArgumentError, printable } from '../errors.ts';
import { formatNumber } from '../metrics/format.ts';
import { splitStep, type Numbers, type StepMetrics } from '../metrics/metrics.ts';

/** The limits, each off unless set. */
export interface GuardLimits {
  /** The most KL to the reference policy, in nats per response. */
  kl?: number | undefined;
  /** The least correlation of the scores with those of the held-out reward. */
  agreement?: number | undefined;
  /** How far the held-out score may fall below its highest. */
  drop?: number | undefined;
  /** The factor by which responses may become longer or shorter than in the first step. */
  length?: number | undefined;
  /** How far the repetition in responses may rise above that of the first step. */
  repetition?: number | undefined;
}

export interface GuardOptions extends GuardLimits {
  /** Steps in a row over a limit that end the run. Defaults to 2. */
  patience?: number | undefined;
}

export type GuardName = keyof GuardLimits;

/** The metric that each limit is for. */
const METRICS: Readonly<Record<GuardName, string>> = {
  kl: 'kl',
  agreement: 'agreement',
  drop: 'score.heldOut',
  length: 'responseLength',
  repetition: 'repetition',
};
const NAMES = Object.keys(METRICS) as GuardName[];

/** What checkpoints save. */
interface GuardState {
  /** The metrics of the first step. */
  first: Record<string, number> | null;
  /** The highest held-out score. */
  peak: number | null;
  /** Steps in a row over each limit. */
  over: Partial<Record<GuardName, number>>;
}

const OPTIONS = {
  kl: optional(POSITIVE),
  agreement: optional(NUMBER),
  drop: optional(POSITIVE),
  length: optional({ is: (value) => Number.isFinite(value) && (value as number) > 1, words: 'a number > 1' }),
  repetition: optional(POSITIVE),
  patience: optional(COUNT),
};

/** Watches the steps of a run. A part of it: saved with its checkpoints, so that a resumed run ends at the same step. */
export class Guards {
  readonly #limits: GuardLimits;
  readonly #patience: number;
  #first: Numbers | undefined;
  #peak = Number.NEGATIVE_INFINITY;
  #over: Partial<Record<GuardName, number>> = {};

  /** @throws ArgumentError for a wrong limit, or none. */
  constructor(options: GuardOptions) {
    checkOptions(options, Object.keys(OPTIONS), 'Guards');
    checkKinds('Guards', options, OPTIONS);
    const { patience = 2, ...limits } = options;
    this.#limits = limits;
    this.#patience = patience;
    if (this.#names.length > 0) return;
    throw new ArgumentError({ argument: 'Guards', received: 'no limit', expected: `one of ${NAMES.join(', ')}` });
  }

  /** Why the run ought to end; undefined if it ought not. */
  get reason(): { cause: GuardName; reason: string } | undefined {
    const cause = this.#names.find((name) => (this.#over[name] ?? 0) >= this.#patience);
    if (cause === undefined) return undefined;
    const steps = this.#patience === 1 ? '1 step' : `${this.#patience} steps in a row`;
    return { cause, reason: `${this.#wordsOf(cause)} in ${steps}` };
  }

  /** Looks at a finished step; gives whether it is within all limits. @throws ArgumentError if it lacks the metric of a limit. */
  sees(row: StepMetrics): boolean {
    const { metrics } = splitStep(row);
    this.#checkMetrics(metrics);
    this.#first ??= metrics;
    this.#peak = Math.max(this.#peak, metrics[METRICS.drop] ?? Number.NEGATIVE_INFINITY);
    const over = this.#names.filter((name) => this.#isOver(name, metrics[METRICS[name]] as number));
    this.#over = Object.fromEntries(over.map((name) => [name, (this.#over[name] ?? 0) + 1]));
    return over.length === 0;
  }

  state(): GuardState {
    const first = this.#first && Object.fromEntries(NAMES.map((name) => [METRICS[name], this.#first?.[METRICS[name]]]));
    const known = first && Object.entries(first).filter((entry): entry is [string, number] => entry[1] !== undefined);
    return {
      first: known === undefined ? null : Object.fromEntries(known),
      peak: Number.isFinite(this.#peak) ? this.#peak : null,
      over: { ...this.#over },
    };
  }

  /** @throws ArgumentError for anything but a saved state. */
  restore(state: GuardState): void {
    const { first, peak, over } = Object(state) as Partial<GuardState>;
    const numbers = (value: unknown) => Object.values(Object(value)).every(Number.isFinite);
    if (first === undefined || over === undefined || !numbers(first) || !numbers(over) || !numbers({ peak: peak ?? 0 }))
      throw new ArgumentError({
        argument: 'Guards.restore',
        received: printable(state),
        expected: 'the state of Guards',
      });
    this.#first = first ?? undefined;
    this.#peak = peak ?? Number.NEGATIVE_INFINITY;
    this.#over = { ...over };
  }

  get #names(): GuardName[] {
    return NAMES.filter((name) => this.#limits[name] !== undefined);
  }

  #isOver(name: GuardName, value: number): boolean {
    const limit = this.#limits[name] as number;
    const first = this.#first?.[METRICS[name]] ?? value;
    if (name === 'kl') return value > limit;
    if (name === 'agreement') return value < limit;
    if (name === 'drop') return value < this.#peak - limit;
    if (name === 'length') return value > first * limit || value < first / limit;
    return value > first + limit;
  }

  #wordsOf(name: GuardName): string {
    const limit = formatNumber(this.#limits[name] as number);
    const first = formatNumber(this.#first?.[METRICS[name]] ?? Number.NaN);
    if (name === 'kl') return `kl was above ${limit}`;
    if (name === 'agreement') return `agreement of the reward and the held-out one was below ${limit}`;
    if (name === 'drop')
      return `the held-out score was more than ${limit} below its highest, ${formatNumber(this.#peak)},`;
    if (name === 'length')
      return `responseLength was more than ${limit} times above or below that of the first step, ${first},`;
    return `repetition was more than ${limit} above that of the first step, ${first},`;
  }

  #checkMetrics(metrics: Numbers): void {
    const missing = this.#names.find((name) => metrics[METRICS[name]] === undefined);
    if (missing === undefined) return;
    const needs = { kl: 'a reference policy', agreement: 'a held-out reward', drop: 'a held-out reward' };
    const expected = needs[missing as keyof typeof needs] ?? `a method that reports ${METRICS[missing]}`;
    throw new ArgumentError({ argument: `guard.${missing}`, received: `steps without ${METRICS[missing]}`, expected });
  }
}
