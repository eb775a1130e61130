/** The dropout of a model that is trained as a language model. */
import type { LanguageModel } from '../models/language-model.ts';

/** Turns the dropout of `model` on for a step, if it has any; `seed` is the step's. */
export function startDropout(model: LanguageModel, seed: number): void {
  const { attnDropout, ffDropout } = model.decoder;
  if (attnDropout > 0 || ffDropout > 0) model.train({ seed });
}
