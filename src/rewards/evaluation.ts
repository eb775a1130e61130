/** How good a model's answers are by a reward, alone or against another model; docs/evaluation.md. */
import type { LanguageModel } from '../models/language-model.ts';
import { answerPrompts, type AnsweringOptions } from '../runs/answers.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Reward } from '../trainers/combined-reward.ts';
import { scoresOf } from '../trainers/rewards.ts';
import { type Answer, chunks } from '../trainers/rollouts.ts';

/** A mean over prompts, and its standard error; undefined for a single prompt. */
export interface Estimate {
  mean: number;
  standardError: number | undefined;
}

/** A model's answers to prompts, in the order of the prompts, and their scores. */
export interface JudgedAnswers {
  answers: Answer[];
  scores: number[];
  /** What each of several rewards made of them, by name. */
  parts: Readonly<Record<string, number[]>>;
  /** Share of answers that ended before `maxNewTokens`. */
  eosShare: number;
}

/** How a model is evaluated. */
export interface EvaluationOptions extends AnsweringOptions {
  /** Prompts answered at once. */
  batchSize: number;
  /** Max seconds per call of a reward function. */
  timeout: number;
}

/** Has `model` answer `prompts`, and `reward` score the answers. @throws RewardError, NumericsError */
export async function judgeAnswers(
  model: LanguageModel,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  reward: Reward,
  { batchSize, timeout, ...options }: EvaluationOptions,
): Promise<JudgedAnswers> {
  const answers: Answer[] = [];
  let ended = 0;
  for (const [i, some] of chunks(prompts, batchSize).entries()) {
    const seed = options.seed === undefined ? undefined : options.seed + i;
    for (const answer of await answerPrompts(model, tokenizer, some, { ...options, seed })) {
      const texts = { promptText: tokenizer.decode(answer.prompt), responseText: answer.text };
      answers.push({ prompt: [...answer.prompt], response: answer.response, ...texts });
      ended += Number(answer.ended);
    }
  }
  const { scores, parts } = await scoresOf(reward, answers, { size: batchSize, timeout });
  return { answers, scores, parts, eosShare: ended / answers.length };
}

/** The mean of values, `perPrompt` of which belong to each prompt. The standard error is over prompts, which are independent. */
export function estimate(values: readonly number[], perPrompt: number): Estimate {
  const means = chunks(values, perPrompt).map(meanOf);
  const mean = meanOf(means);
  if (means.length < 2) return { mean, standardError: undefined };
  const variance = means.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (means.length - 1);
  return { mean, standardError: Math.sqrt(variance / means.length) };
}

/** 1 where `scores` are higher than those of `others`, 0 where they are lower, 0.5 where they are equal. */
export function wins(scores: readonly number[], others: readonly number[]): number[] {
  return scores.map((score, i) => (Math.sign(score - (others[i] as number)) + 1) / 2);
}

/** The mean of at least one value. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
