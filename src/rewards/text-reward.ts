/** Rewards that judge texts: what modules, servers and programs with texts give. */
import type { Answer, RewardFunction } from '../trainers/rollouts.ts';

/** A response with the prompt it answers, as texts and as tokens. */
export interface TextAnswer {
  prompt: string;
  /** Without the eos. */
  response: string;
  promptTokens: number[];
  /** Including the eos if the response ended with it. */
  responseTokens: number[];
  /** What the row of the prompt has besides it, such as the right answer. */
  meta: Readonly<Record<string, unknown>>;
}

/** Scores answers with one number each; higher is better. `signal` is aborted when nobody waits for the scores any more. */
export type TextReward = (answers: TextAnswer[], signal: AbortSignal) => readonly number[] | Promise<readonly number[]>;

/** `reward` as a function of the answers of a trainer with a tokenizer. */
export function ofTexts(reward: TextReward): RewardFunction {
  return (answers, signal = new AbortController().signal) => reward(answers.map(textAnswer), signal);
}

function textAnswer({ prompt, response, promptText = '', responseText = '', meta = {} }: Answer): TextAnswer {
  return { prompt: promptText, response: responseText, promptTokens: prompt, responseTokens: response, meta };
}
