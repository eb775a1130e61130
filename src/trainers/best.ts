/** The best step of a run: a copy of its weights, and when a run that gets no better ends. docs/stopping.md. */
import { checkKinds, COUNT, having, optional, TEXT } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { type Mode, modeOf } from '../config/evaluation.ts';
import { ArgumentError, nearest, printable } from '../errors.ts';
import { splitStep, type StepMetrics } from '../metrics/metrics.ts';
import { BEST_KEY, type BestStep, isBestStep } from '../models/best-note.ts';
import { Snapshot } from '../tensor/snapshot.ts';
import type { Contents, Saveable } from '../tensor/tensor-files.ts';

/** Which step is the best, and when none is to be expected any more. */
export interface BestOptions {
  /** The metric to compare by. */
  keepBest: string;
  /** Whether lower or higher values are better; known for losses, scores, accuracies and margins. */
  mode?: Mode | undefined;
  /** The run ends after so many values in a row that are not better than the best. */
  stopAfter?: number | undefined;
}

/** What checkpoints save besides the copy. */
interface BestState {
  best: BestStep | null;
  /** Values since the best. */
  since: number;
  metadata: [string, string][];
}

const OPTIONS = {
  keepBest: TEXT,
  mode: optional({ is: (value) => value === 'min' || value === 'max', words: 'min or max' }),
  stopAfter: optional(COUNT),
};

/**
 * Keeps a copy of `weights` from the step whose metric is the best. A part of a run: saved with its checkpoints, so that a resumed
 * run has the same best step. Dispose of it.
 */
export class Best implements Saveable, Disposable {
  readonly #options: BestOptions;
  readonly #mode: Mode;
  readonly #copy: Snapshot;
  #best: BestStep | undefined;
  #since = 0;
  /** Whether the copy has values: before the first value of the metric, those after the first step. */
  #taken = false;

  /** @throws ArgumentError for a wrong option, or if it is not known which values of the metric are better. */
  constructor(weights: Saveable, options: BestOptions) {
    checkKinds('Best', { weights }, { weights: having('a model', 'contents') });
    checkOptions(options, Object.keys(OPTIONS), 'Best');
    checkKinds('Best', options, OPTIONS);
    const mode = options.mode ?? modeOf(options.keepBest);
    if (mode === undefined) {
      const expected = `min or max: the name ${options.keepBest} does not tell which values are better`;
      throw new ArgumentError({ argument: 'Best.mode', received: 'nothing', expected });
    }
    this.#options = options;
    this.#mode = mode;
    this.#copy = new Snapshot(weights);
  }

  /** The best step so far; undefined before the first finite value of the metric. */
  get found(): Readonly<BestStep> | undefined {
    return this.#best;
  }

  /** Why the run ought to end; undefined if it ought not. */
  get reason(): string | undefined {
    const { keepBest, stopAfter = Number.POSITIVE_INFINITY } = this.#options;
    if (this.#since < stopAfter) return undefined;
    return `${keepBest} has not become better in ${stopAfter === 1 ? '1 value' : `${stopAfter} values in a row`}`;
  }

  /**
   * Looks at a finished step, and copies the weights if it is the best so far; gives whether it is. A step that is not `eligible`
   * is never the best.
   * @throws ArgumentError if the steps have no such metric.
   */
  async see(row: StepMetrics, eligible = true): Promise<boolean> {
    const { metrics } = splitStep(row);
    const { keepBest } = this.#options;
    if (!Object.hasOwn(metrics, keepBest)) throw unknownMetric(keepBest, Object.keys(metrics));
    const value = metrics[keepBest];
    const better = eligible && value !== undefined && this.#isBetter(value);
    if (better || !this.#taken) await this.#copy.take();
    this.#taken = true;
    if (value === undefined) return false;
    this.#since = better ? 0 : this.#since + 1;
    if (better) this.#best = { step: row.step, metric: keepBest, value };
    return better;
  }

  /** Copies the weights of the best step back into the model. */
  async putBack(): Promise<void> {
    await this.#copy.putBack();
  }

  /** The copy, as the file of a model that notes the step. */
  contents(): Contents {
    const { tensors, metadata } = this.#copy.contents();
    const note: [string, string][] = this.#best === undefined ? [] : [[BEST_KEY, JSON.stringify(this.#best)]];
    return { tensors, metadata: new Map([...metadata, ...note]) };
  }

  state(): BestState {
    return { best: this.#best ?? null, since: this.#since, metadata: [...this.#copy.metadata] };
  }

  /** @throws ArgumentError for another state than that of a run with the same metric. */
  restore(state: BestState): void {
    const { best, since, metadata } = Object(state) as Partial<BestState>;
    if ((best !== null && !isBestStep(best)) || !COUNT.is((since ?? -1) + 1) || !Array.isArray(metadata))
      throw new ArgumentError({
        argument: 'Best.restore',
        received: printable(state),
        expected: 'the state of a Best',
      });
    const { keepBest } = this.#options;
    if (best !== null && best.metric !== keepBest) {
      const expected = `${best.metric}, as when the run started`;
      throw new ArgumentError({ argument: 'evaluation.keepBest', received: keepBest, expected });
    }
    this.#best = best ?? undefined;
    this.#since = since as number;
    this.#copy.metadata = new Map(metadata);
    this.#taken = true;
  }

  dispose(): void {
    this.#copy.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #isBetter(value: number): boolean {
    if (!Number.isFinite(value)) return false;
    if (this.#best === undefined) return true;
    return this.#mode === 'min' ? value < this.#best.value : value > this.#best.value;
  }
}

function unknownMetric(name: string, known: readonly string[]): ArgumentError {
  const near = nearest(name, known);
  return new ArgumentError({
    argument: 'evaluation.keepBest',
    received: `${printable(name)}, which the steps of this run do not have`,
    expected: `one of ${known.join(', ')}`,
    ...(near !== undefined && { fix: `Did you mean ${near}?` }),
  });
}
