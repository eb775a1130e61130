/** A prompt with a response that is good or not, as tokens; `loadRows('label', …)` reads such rows. */
export interface Label {
  prompt: number[];
  response: number[];
  good: boolean;
}
