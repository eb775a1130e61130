/** Scores of texts by a model. */
import type { ImplicitPRM } from '../models/implicit-prm.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Judge } from '../trainers/combined-reward.ts';
import { scoresOfModel, tokenRewardsOf } from '../trainers/rewards.ts';
import type { Answer } from '../trainers/rollouts.ts';

/** A prompt and a response to it, as text. */
export interface PromptAndResponse {
  prompt: string;
  response: string;
}

/** The score of each of `texts`; `size` are scored at once. A complete response ends with the eos, as in training. */
export async function scoreTexts(
  model: Judge,
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

/** A token of a response, and its reward. */
export interface TokenReward {
  text: string;
  reward: number;
}

/** The tokens of each response with their rewards, the eos included; `size` are read at once. */
export async function rewardTokens(
  model: ImplicitPRM,
  tokenizer: Tokenizer,
  answers: Answer[],
  size: number,
): Promise<TokenReward[][]> {
  const rewards = await tokenRewardsOf(model, answers, { size });
  return answers.map(({ response }, row) =>
    response.map((token, t) => ({ text: tokenizer.decode([token]), reward: rewards[row]?.[t] as number })),
  );
}

/** A complete response in tokens, as in training: encoded apart from its prompt, with the eos. */
export function answerOf({ prompt, response }: PromptAndResponse, tokenizer: Tokenizer): Answer {
  const { eosToken } = tokenizer;
  const tokens = tokenizer.encode(response, { continues: true });
  return {
    prompt: tokenizer.encode(prompt, { special: 'begin' }),
    response: eosToken === undefined ? tokens : [...tokens, eosToken],
  };
}
