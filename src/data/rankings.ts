/** Responses that were compared with others to the same prompt, as tokens. */
import type { Preference } from './preferences.ts';

/** A prompt with responses in order of preference; `loadRows('ranking', …)` reads such rows. */
export interface Ranking {
  prompt: number[];
  /** At least two. */
  responses: number[][];
  /** The rank of each response; lower is better, equal ranks are ties. */
  rank: readonly number[];
  /** By how much each response should beat those below it; 0 if missing. */
  margin?: number | undefined;
  /** Whether even the best response is bad. */
  noneGood?: boolean | undefined;
}

/** A pair as a ranking of two. */
export function asRanking(row: Preference | Ranking): Ranking {
  if ('responses' in row) return row;
  const { prompt, chosen, rejected, margin } = row;
  return { prompt, responses: [chosen, rejected], rank: [0, 1], margin };
}
