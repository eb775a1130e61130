/** Solutions in steps, each judged, as tokens. */

/** `loadRows('steps', …)` reads such rows. */
export interface Solution {
  prompt: number[];
  steps: JudgedStep[];
}

export interface JudgedStep {
  tokens: number[];
  /** Whether the step is right; null if nobody has said. */
  good: boolean | null;
  /** Whether the annotator found it neither right nor wrong; `good` is then null. */
  neutral?: true;
}

/** What a neutral step counts as: a right one, a wrong one, or one without a label. */
export type Neutral = 'positive' | 'negative' | 'skip';

/** The solution with its neutral steps counted as `neutral` says. */
export function withNeutral({ prompt, steps }: Solution, neutral: Neutral): Solution {
  if (neutral === 'skip') return { prompt, steps };
  const judged = steps.map((step) => (step.neutral ? { ...step, good: neutral === 'positive' } : step));
  return { prompt, steps: judged };
}

/** The number of steps with a label. */
export function countLabels(solutions: readonly Solution[]): number {
  return solutions.reduce((sum, { steps }) => sum + steps.filter(({ good }) => good !== null).length, 0);
}
