/** `palm score`: scores the responses in a file with a model that palm reward, process-reward or implicit-prm trained, one line of JSON for each. */
import type { Command } from 'commander';
import * as z from 'zod';
import { count, device, path } from '../config/fields.ts';
import { chatTemplate, tokenizer } from '../config/inputs.ts';
import { chatAnswers } from '../data/chat-rows.ts';
import { ASKED, MESSAGES, responseOf, turnsOf, WrongField } from '../data/forms/fields.ts';
import type { Turn } from '../data/forms/rows.ts';
import { renderPrompt, renderResponse } from '../data/forms/transcript.ts';
import { type Row, readStrings } from '../data/row.ts';
import { readRows } from '../data/rows.ts';
import { ArgumentError, DataError } from '../errors.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import { JUDGE_KINDS, loadJudge } from '../rewards/judge.ts';
import { answerOf, rewardTokens } from '../rewards/score-texts.ts';
import { findModelOf, type ModelText, textOf } from '../runs/model-file.ts';
import type { Answer, Judge } from '../trainers/combined-reward.ts';
import { scoresOfModel } from '../trainers/rewards.ts';
import { chunks } from '../trainers/rollouts.ts';
import { statisticsOf } from '../trainers/score-norm.ts';
import { configuredCommand } from './options.ts';
import { warn } from './warn.ts';

const schema = z.strictObject({
  model: path.describe('reward model: run folder, checkpoint folder or model file'),
  data: path.describe('.jsonl with {prompt, response} or {prompt, completion}, texts or messages'),
  batchSize: count.default(32).describe('responses scored at once'),
  tokens: z.boolean().default(false).describe('print the reward of every token, too; for runs of implicit-prm'),
  tokenizer,
  chatTemplate,
  device,
});

/** The `score` command. */
export function scoreCommand(): Command {
  return configuredCommand('score', schema, score, 'model').description(
    'score responses with a reward model: a line of JSON for each on stdout, a summary on stderr',
  );
}

/** A row with what it asks, a text or the messages so far, and the response to that. */
interface Scorable {
  row: Record<string, unknown>;
  asked: string | Turn[];
  response: string;
}

async function score(config: z.output<typeof schema>): Promise<void> {
  const { model: place, data, batchSize: size, device } = config;
  const file = await findModelOf(place, JUDGE_KINDS);
  const text = await textOf(config, file);
  const { used, skipped } = await readRows<Scorable>(data, scorable);
  const [first] = skipped;
  if (first !== undefined) warn(`skipped rows: ${skipped.length}, the first at ${first.place}: ${first.reason}`);
  using model = await loadJudge(file, device);
  const rewarding = config.tokens ? rewardsTokens(model, place) : undefined;
  const all: number[] = [];
  for (const some of chunks(used, size)) {
    const answers: Answer[] = [];
    for (const one of some) answers.push(await encoded(one, text));
    const scores = await scoresOfModel(model, answers, { size });
    const rewards = rewarding && (await rewardTokens(rewarding, text, answers, size));
    for (const [i, { row }] of some.entries())
      process.stdout.write(`${JSON.stringify({ ...row, score: scores[i], tokens: rewards?.[i] })}\n`);
    all.push(...scores);
  }
  console.error(summary(all));
}

function scorable(row: Record<string, unknown>): Row<Scorable> {
  const named = 'completion' in row ? { response: row.completion, ...row } : row;
  const { prompt, response } = named as Record<string, unknown>;
  if (!MESSAGES.is(prompt)) {
    const texts = readStrings(named, ['prompt', 'response']);
    return 'skip' in texts ? texts : { use: { row, asked: texts.use.prompt, response: texts.use.response } };
  }
  if (!ASKED.is(response)) return { skip: '"response" is neither a text nor one message' };
  try {
    const said = responseOf(response);
    return 'skip' in said ? said : { use: { row, asked: turnsOf(prompt), response: said.use } };
  } catch (error) {
    if (!(error instanceof WrongField)) throw error;
    return { skip: `it has ${error.received} instead of ${error.expected}` };
  }
}

/** A response as it is learned: by the chat template, or without one as a transcript. @throws DataError if the template refuses it */
async function encoded({ asked, response }: Scorable, text: ModelText): Promise<Answer> {
  if (typeof asked === 'string') return answerOf({ prompt: asked, response }, text);
  if (text.chat !== undefined) {
    const { prompt, responses } = usable(await chatAnswers(text.chat, asked, [response]));
    return { prompt, response: responses[0] as number[] };
  }
  return answerOf({ prompt: usable(renderPrompt(asked)), response: usable(renderResponse(asked, response)) }, text);
}

function usable<T>(row: Row<T>): T {
  if ('use' in row) return row.use;
  throw new DataError({
    argument: '--data',
    received: `a conversation of which ${row.skip}`,
    expected: 'one that can be written',
    fix: 'Leave its row out, or choose another --chatTemplate.',
  });
}

/** @throws ArgumentError for a model that has one score for an answer and none for its tokens */
function rewardsTokens(model: Judge, place: string): ImplicitPRM {
  if (model instanceof ImplicitPRM) return model;
  const fix = 'Leave out --tokens, or train a model with palm implicit-prm.';
  const expected = `an ImplicitPRM at ${place}`;
  throw new ArgumentError({ argument: '--tokens', received: 'a RewardModel', expected, fix });
}

function summary(scores: readonly number[]): string {
  const { mean, deviation } = statisticsOf(scores);
  const [low, high] = [Math.min, Math.max].map((pick) => scores.reduce((a, b) => pick(a, b)).toPrecision(4));
  const rows = `${scores.length.toLocaleString('en-US')} ${scores.length === 1 ? 'response' : 'responses'}`;
  return `${rows}: mean ${mean.toPrecision(4)}, deviation ${deviation.toPrecision(4)}, from ${low} to ${high}`;
}
