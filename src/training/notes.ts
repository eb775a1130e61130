/** What a run tells about itself that its numbers do not say. */
import type { RunConfig, Training } from '../methods/method.ts';
import { formatNumber } from '../metrics/format.ts';
import type { StepMetrics } from '../metrics/metrics.ts';

/** A note if the learning rate has not reached its peak when the last step comes. */
export function unfinishedWarmup({ config, steps }: Training): string[] {
  const { warmupSteps = 0, critic } = config as RunConfig & { warmupSteps?: number; critic?: { warmup: number } };
  const needed = warmupSteps + (critic?.warmup ?? 0);
  if (warmupSteps === 0 || needed < steps) return [];
  const share = Math.round((100 * Math.max(0, steps - (critic?.warmup ?? 0))) / warmupSteps);
  const fix = 'use more steps or fewer warmupSteps';
  return [
    `note: the warm-up of ${needed} steps is longer than the run of ${steps}, which ends at ${share} % of lr: ${fix}`,
  ];
}

/** How much higher than its lowest value the loss on held-out data is before a run tells of it. */
const RISE = 1.01;

/** Watches the loss on held-out data. */
export class HeldOutLoss {
  #lowest: { step: number; loss: number } | undefined;
  #last = Number.NaN;

  watch({ step, validationLoss: loss }: StepMetrics): void {
    if (typeof loss !== 'number' || !Number.isFinite(loss)) return;
    if (this.#lowest === undefined || loss < this.#lowest.loss) this.#lowest = { step, loss };
    this.#last = loss;
  }

  /** A note if the loss was lower earlier. */
  notes(): string[] {
    if (this.#lowest === undefined || !(this.#last > RISE * this.#lowest.loss)) return [];
    const { step, loss } = this.#lowest;
    const then = `validationLoss was lowest at step ${step}, ${formatNumber(loss)}, and is now ${formatNumber(this.#last)}`;
    const fix = 'with --evaluation.keepBest validationLoss a run also keeps the model of its best step';
    return [`note: ${then}; the model is that of the last step: ${fix}`];
  }
}
