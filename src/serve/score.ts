/** POST /v1/score: what a reward model thinks of answers to a prompt. */
import * as z from 'zod';
import { answerOf } from '../rewards/score-texts.ts';
import { chatAnswers } from '../data/chat-rows.ts';
import type { Answer } from '../trainers/rollouts.ts';
import { scoresOfModel } from '../trainers/rewards.ts';
import { ApiError } from '../web/api-error.ts';
import { messageOf, messages } from './messages.ts';
import type { ServedJudge } from './served-model.ts';

/** Answers that are scored at once, and requests that may wait. */
const AT_ONCE = 8;
const MOST_WAITING = 64;

const text = z.string();
/** The fields of a request. */
export const SCORE = z.object({
  model: text.min(1),
  prompt: text.nullish(),
  messages: messages.nullish(),
  responses: z.array(text).min(1).max(64),
});
type ScoreFields = z.output<typeof SCORE>;

/** Scores the answers of requests, one request after the other. */
export class Scoring {
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** The score of each response. @throws ApiError for a prompt that the model cannot read, and if too much waits */
  async scores(model: ServedJudge, fields: ScoreFields): Promise<{ scores: number[]; tokens: number }> {
    const answers = await answersOf(model, fields);
    const longest = Math.max(...answers.map(lengthOf));
    if (longest > model.capacity) {
      const message = `${longest} tokens of prompt and response are more than the ${model.capacity} that fit`;
      throw new ApiError(400, message, { param: 'responses', code: 'context_length_exceeded' });
    }
    if (this.#waiting >= MOST_WAITING)
      throw new ApiError(429, `${this.#waiting} requests are waiting already`, { retryAfter: 1 });
    this.#waiting++;
    const scoring = this.#last.then(() => scoresOfModel(model.judge, answers, { size: AT_ONCE }));
    this.#last = scoring.catch(() => undefined);
    try {
      return { scores: await scoring, tokens: answers.reduce((sum, answer) => sum + lengthOf(answer), 0) };
    } finally {
      this.#waiting--;
    }
  }
}

function lengthOf({ prompt, response }: Answer): number {
  return prompt.length + response.length;
}

async function answersOf({ text, name }: ServedJudge, { prompt, messages, responses }: ScoreFields): Promise<Answer[]> {
  if ((prompt == null) === (messages == null)) {
    throw new ApiError(400, 'there must be either prompt, a text, or messages', { param: 'prompt' });
  }
  if (prompt != null) return responses.map((response) => answerOf({ prompt, response }, text));
  if (text.chat === undefined) {
    throw new ApiError(400, `${name} has no chat template: give prompt, a text`, { param: 'messages' });
  }
  const row = await chatAnswers(text.chat, (messages ?? []).map(messageOf), responses);
  if ('skip' in row) throw new ApiError(400, `the conversation cannot be scored: ${row.skip}`, { param: 'messages' });
  const { prompt: asked, responses: told } = row.use;
  return told.map((response) => ({ prompt: asked, response }));
}
