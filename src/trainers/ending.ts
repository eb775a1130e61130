/** Ends a run before its last step where there is a reason to. */
import type { StepMetrics } from '../metrics/metrics.ts';
import type { Best } from './best.ts';
import type { GuardName, Guards } from './guards.ts';

/** Why a run ended before its last step. */
export interface Stopped {
  /** The step it ended after. */
  step: number;
  /** The limit that ended it, or `no-improvement` of `evaluation.keepBest`. */
  cause: GuardName | 'no-improvement';
  /** The same in words, with numbers. */
  reason: string;
}

/** What decides when a run ends early. */
export interface Endings {
  best?: Best | undefined;
  guards?: Guards | undefined;
}

/** Why a run that has done `step` of `steps` steps ends; undefined if it goes on, or has done all. */
export function stoppedAt(step: number, steps: number, { best, guards }: Endings): Stopped | undefined {
  if (step >= steps) return undefined;
  const guarded = guards?.reason;
  if (guarded !== undefined) return { step, ...guarded };
  return best?.reason === undefined ? undefined : { step, cause: 'no-improvement', reason: best.reason };
}

/**
 * Yields the `steps` of a run until there is a reason to end it. A step that is the best so far has the metric `best`, 1; one over a
 * limit of the guards never is.
 */
export async function* untilEnding<Step extends { readonly step: number }>(
  steps: AsyncGenerator<Step>,
  endings: Endings,
): AsyncGenerator<Step & { best?: 1 }> {
  for await (const step of steps) {
    const row = { ...step } as StepMetrics;
    const within = endings.guards?.sees(row);
    const isBest = await endings.best?.see(row, within);
    yield isBest ? { ...step, best: 1 } : step;
    if (stoppedAt(step.step, Number.POSITIVE_INFINITY, endings) !== undefined) return;
  }
}
