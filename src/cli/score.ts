/** `palm score`: scores the responses in a file with a model that palm reward, process-reward or implicit-prm trained, one line of JSON for each. */
import type { Command } from 'commander';
import { z } from 'zod';
import { count, device, path } from '../config/fields.ts';
import { tokenizer } from '../config/inputs.ts';
import { readStrings } from '../data/row.ts';
import { readRows } from '../data/rows.ts';
import { ArgumentError } from '../errors.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import { JUDGE_KINDS, loadJudge } from '../rewards/judge.ts';
import { type PromptAndResponse, rewardTexts, scoreTexts } from '../rewards/score-texts.ts';
import { findModelOf, tokenizerOf } from '../runs/model-file.ts';
import type { Judge } from '../trainers/combined-reward.ts';
import { chunks } from '../trainers/rollouts.ts';
import { statisticsOf } from '../trainers/score-norm.ts';
import { configuredCommand } from './options.ts';
import { warn } from './warn.ts';

const schema = z.strictObject({
  model: path.describe('reward model: run folder, checkpoint folder or model file'),
  data: path.describe('.jsonl with {prompt, response} or {prompt, completion}'),
  batchSize: count.default(32).describe('responses scored at once'),
  tokens: z.boolean().default(false).describe('print the reward of every token, too; for runs of implicit-prm'),
  tokenizer,
  device,
});

/** The `score` command. */
export function scoreCommand(): Command {
  return configuredCommand('score', schema, score, 'model').description(
    'score responses with a reward model: a line of JSON for each on stdout, a summary on stderr',
  );
}

interface Scorable {
  row: Record<string, unknown>;
  text: PromptAndResponse;
}

async function score(config: z.output<typeof schema>): Promise<void> {
  const { model: place, data, batchSize: size, device } = config;
  const file = await findModelOf(place, JUDGE_KINDS);
  const tokenizer = await tokenizerOf(config.tokenizer, file);
  const { used, skipped } = await readRows<Scorable>(data, (row) => {
    const named = 'completion' in row ? { response: row.completion, ...row } : row;
    const texts = readStrings(named, ['prompt', 'response']);
    return 'skip' in texts ? texts : { use: { row, text: texts.use } };
  });
  const [first] = skipped;
  if (first !== undefined) warn(`skipped rows: ${skipped.length}, the first at ${first.place}: ${first.reason}`);
  using model = await loadJudge(file, device);
  const rewarding = config.tokens ? rewardsTokens(model, place) : undefined;
  const all: number[] = [];
  for (const some of chunks(used, size)) {
    const texts = some.map(({ text }) => text);
    const scores = await scoreTexts(model, tokenizer, texts, size);
    const rewards = rewarding && (await rewardTexts(rewarding, tokenizer, texts, size));
    for (const [i, { row }] of some.entries())
      process.stdout.write(`${JSON.stringify({ ...row, score: scores[i], tokens: rewards?.[i] })}\n`);
    all.push(...scores);
  }
  console.error(summary(all));
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
