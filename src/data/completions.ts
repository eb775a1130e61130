/** Texts that a model learns to say, as tokens. */

/** A response to a prompt; `loadRows('completion', …)` reads such rows. The prompt may be empty. */
export interface Completion {
  prompt: number[];
  response: number[];
}

/** A whole text, of which all tokens are learned, or those that `targets` marks: rows of `loadRows` of the kind `text` or `turns`. */
export interface MarkedText {
  tokens: number[];
  targets?: boolean[] | undefined;
}

export type Lesson = Completion | MarkedText;

/**
 * The tokens of a lesson, and which of them are targets: those to learn, or with `all` those of the prompt too. The first
 * token never is one, because nothing predicts it.
 */
export function targetsOf(lesson: Lesson, lossOn: 'response' | 'all'): { tokens: number[]; targets: boolean[] } {
  const { tokens, learned } = spelled(lesson);
  return { tokens, targets: tokens.map((_, t) => t > 0 && (lossOn === 'all' || learned(t))) };
}

function spelled(lesson: Lesson): { tokens: number[]; learned: (t: number) => boolean } {
  if ('prompt' in lesson) {
    const { prompt, response } = lesson;
    return { tokens: [...prompt, ...response], learned: (t) => t >= prompt.length };
  }
  const { tokens, targets } = lesson;
  return { tokens, learned: (t) => targets?.[t] ?? true };
}
