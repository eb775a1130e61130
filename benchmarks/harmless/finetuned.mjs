/** Judges made of a language model that others trained: adapters and a head learn from the training pairs, all else is the model's. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LanguageModel, loadPreferences, methods, openTokenizer, rewardConfig } from '../../dist/index.js';
import { figuresOf } from './figures.mjs';
import { gapsOf } from './judges.mjs';

/** Options of `palm reward`, chosen before any result was seen: its defaults, but one epoch. */
const OPTIONS = { epochs: 1 };
const LENGTH = 256;
/** Evaluations of a fold, evenly spaced over its training: a learning curve. */
const LOOKS = 4;
export const RECIPE =
  `${OPTIONS.epochs} epoch of palm reward with its other defaults (LoRA of rank 8, mean of the response), in bfloat16, ` +
  `${LENGTH} tokens of prompt and response by the model's chat template`;

/**
 * What judges of the held-out pairs of each of `wanted` folds say, each learned from all other pairs: by fold, `looks` with the number
 * of pairs learned so far and the gaps of the held-out pairs. The folder `work` keeps what was found. `steps` limits a fold's training.
 */
export async function finetunedGaps(place, pairs, folds, { wanted, work, seed, steps }) {
  const found = new Map();
  for (const fold of wanted) {
    const file = join(work, `finetuned-${fold}${steps === undefined ? '' : `-${steps}-steps`}.json`);
    if (!existsSync(file))
      writeFileSync(file, JSON.stringify(await foldOf(place, pairs, folds, { fold, work, seed, steps })));
    found.set(fold, JSON.parse(readFileSync(file, 'utf8')));
  }
  return found;
}

async function foldOf(place, pairs, folds, { fold, work, seed, steps }) {
  const text = await openTokenizer(place);
  const [learned, held] = [true, false].map((learns) => pairs.filter((_, i) => (folds[i] !== fold) === learns));
  const [train, others] = [await tokensOf(learned, text, work), await tokensOf(held, text, work)];
  const model = await LanguageModel.load(place, { dtype: 'bfloat16' });
  const config = rewardConfig.parse({ ...OPTIONS, seed });
  const run = methods.reward.assemble(config, { model, pairs: train });
  const last = Math.min(steps ?? run.steps, run.steps);
  const looks = [];
  for await (const { step } of run.train()) {
    if (step % Math.ceil(last / LOOKS) === 0 || step === last) {
      const gaps = await gapsOf(run.parts.weights, others);
      looks.push({ pairs: Math.min(step * config.batchSize, train.length), gaps });
      const { accuracy, error } = figuresOf(gaps, held);
      console.error(
        `${new Date().toISOString()} fold ${fold}, step ${step}/${last}: ${accuracy.toFixed(3)} ± ${error.toFixed(3)}`,
      );
    }
    if (step === last) break;
  }
  for (const each of [run.parts.optimizer, run.parts.weights, model]) each.dispose();
  return looks;
}

/** `pairs` as tokens by the chat template, in their order; none may be lost. */
async function tokensOf(pairs, { tokenizer, chat }, work) {
  const file = join(work, 'conversations.jsonl');
  const rows = pairs.map(({ prompt, chosen, rejected }) => ({
    prompt: messagesOf(prompt),
    ...Object.fromEntries(
      Object.entries({ chosen, rejected }).map(([key, text]) => [key, [{ role: 'assistant', content: text.trim() }]]),
    ),
  }));
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const { pairs: tokens, skipped } = await loadPreferences(file, tokenizer, { maxLength: LENGTH }, { chat });
  if (tokens.length !== pairs.length)
    throw new Error(`${pairs.length - tokens.length} pairs lost: ${skipped[0]?.reason}`);
  return tokens;
}

/** The turns of a prompt that is written as in hh-rlhf. */
function messagesOf(prompt) {
  const pieces = prompt.split(/\n\n(Human|Assistant):/).slice(1);
  const turns = [];
  for (let i = 0; i < pieces.length; i += 2) {
    turns.push({ role: pieces[i] === 'Human' ? 'user' : 'assistant', content: pieces[i + 1].trim() });
  }
  return turns.at(-1)?.content === '' ? turns.slice(0, -1) : turns;
}
