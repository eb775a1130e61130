/** Texts in, texts out: a model that answers prompts. */
import type { GenerateInput, LanguageModel } from '../models/language-model.ts';
import { endTokens, type Tokenizer } from '../tokenizer/tokenizer.ts';

/** A response to a prompt, as tokens and as text. */
export interface Answered {
  prompt: readonly number[];
  /** The sampled tokens, including the eos if the response ended with it. */
  response: number[];
  /** Without the eos. */
  text: string;
  /** Whether it ended with the eos or a stop sequence, instead of at `maxNewTokens`. */
  ended: boolean;
}

/** How prompts are answered; the tokenizer gives the tokens that end and fill a row. */
export type AnsweringOptions = Omit<GenerateInput, 'prompts' | 'lengths' | 'eosToken' | 'suppress' | 'padToken'>;

/** Answers to `prompts`, in their order, `samplesPerPrompt` to each. The padding token is never sampled. */
export async function answerPrompts(
  model: LanguageModel,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnsweringOptions,
): Promise<Answered[]> {
  const { samplesPerPrompt = 1, stop = [], maxNewTokens } = options;
  const { padToken } = tokenizer;
  const eosToken = endTokens(tokenizer);
  const suppress = silentTokens(tokenizer, model.decoder.numTokens);
  using generation = await model.generate({ ...options, prompts, eosToken, padToken, suppress });
  const width = generation.sequences.shape[1] as number;
  const [tokens, mask] = await Promise.all([generation.sequences.data(), generation.responseMask.data()]);
  const asked = prompts.flatMap((prompt) => Array.from({ length: samplesPerPrompt }, () => prompt));
  return asked.map((prompt, row) => {
    const response: number[] = [];
    for (let t = prompt.length; t < width && mask[row * width + t]; t++) response.push(Number(tokens[row * width + t]));
    const ended =
      eosToken?.includes(response.at(-1) as number) || response.length < maxNewTokens || endsWithOneOf(response, stop);
    return { prompt, response, text: tokenizer.decode(response), ended };
  });
}

/** Tokens of the model that stand for no text: a padding token that does not end responses. */
export function silentTokens(tokenizer: Tokenizer, numTokens: number): number[] {
  const { padToken } = tokenizer;
  const ends = padToken !== undefined && endTokens(tokenizer)?.includes(padToken);
  return padToken === undefined || ends || padToken >= numTokens ? [] : [padToken];
}

function endsWithOneOf(response: readonly number[], stop: readonly (readonly number[])[]): boolean {
  return stop.some((sequence) =>
    sequence.every((token, i) => token === response[response.length - sequence.length + i]),
  );
}
