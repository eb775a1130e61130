/** Ends a run before its last step where there is a reason to. */
import type { StepMetrics } from '../metrics/metrics.ts';
import type { Best } from './best.ts';

/** Why a run ended before its last step. */
export interface Stopped {
  /** The step it ended after. */
  step: number;
  /** In words. */
  reason: string;
}

/** What decides when a run ends early. */
export interface Endings {
  best?: Best | undefined;
}

/** Why a run that has done `step` of `steps` steps ends; undefined if it goes on, or has done all. */
export function stoppedAt(step: number, steps: number, { best }: Endings): Stopped | undefined {
  const reason = step < steps ? best?.reason : undefined;
  return reason === undefined ? undefined : { step, reason };
}

/** Yields the `steps` of a run until there is a reason to end it. A step that is the best so far has the metric `best`, 1. */
export async function* untilEnding<Step extends { readonly step: number }>(
  steps: AsyncGenerator<Step>,
  endings: Endings,
): AsyncGenerator<Step & { best?: 1 }> {
  for await (const step of steps) {
    const isBest = await endings.best?.see({ ...step } as StepMetrics);
    yield isBest ? { ...step, best: 1 } : step;
    if (stoppedAt(step.step, Number.POSITIVE_INFINITY, endings) !== undefined) return;
  }
}
