/** Scores of texts by a reward model. */
import type { RewardModel } from '../models/reward-model.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { scoresOfModel } from '../trainers/rewards.ts';
import type { Answer } from '../trainers/rollouts.ts';

/** A prompt and a response to it, as text. */
export interface PromptAndResponse {
  prompt: string;
  response: string;
}

/** The score of each of `texts`; `size` are scored at once. A complete response ends with the eos, as in training. */
export async function scoreTexts(
  model: RewardModel,
  tokenizer: Tokenizer,
  texts: readonly PromptAndResponse[],
  size: number,
): Promise<number[]> {
  return await scoresOfModel(
    model,
    texts.map((text) => answerOf(text, tokenizer)),
    { size },
  );
}

function answerOf({ prompt, response }: PromptAndResponse, tokenizer: Tokenizer): Answer {
  const { eosToken } = tokenizer;
  const tokens = tokenizer.encode(response, { continues: true });
  return { prompt: tokenizer.encode(prompt), response: eosToken === undefined ? tokens : [...tokens, eosToken] };
}
