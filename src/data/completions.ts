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

/** What supervised fine-tuning learns: a response to a prompt, or a text. */
export type TrainingExample = Completion | MarkedText;

/**
 * The tokens of an example, and which of them are targets: those to learn, or with `all` those of the prompt too. The first
 * token never is one, because nothing predicts it.
 */
export function targetsOf(
  example: TrainingExample,
  lossOn: 'response' | 'all',
): { tokens: number[]; targets: boolean[] } {
  const { tokens, learned } = spelled(example);
  return { tokens, targets: tokens.map((_, t) => t > 0 && (lossOn === 'all' || learned(t))) };
}

function spelled(example: TrainingExample): { tokens: number[]; learned: (t: number) => boolean } {
  if ('prompt' in example) {
    const { prompt, response } = example;
    return { tokens: [...prompt, ...response], learned: (t) => t >= prompt.length };
  }
  const { tokens, targets } = example;
  return { tokens, learned: (t) => targets?.[t] ?? true };
}
