/** Judges learned from scratch: a tokenizer, a language model and reward models, all of the training pairs alone. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  loadPreferences,
  loadTokenizer,
  methods,
  PaLM,
  pretrainConfig,
  rewardConfig,
  Tensor,
  Windows,
} from '../../dist/index.js';
import { trainBpe } from './bpe.mjs';

/** What is tried, as options of `palm reward`. */
export const SETTINGS = {
  'mean of the response, all weights, 1 epoch': { pooling: 'response', lora: false, epochs: 1 },
  'last token, all weights, 1 epoch': { pooling: 'last', lora: false, epochs: 1 },
};

const MODEL = { dim: 64, depth: 2, heads: 2, dimHead: 32 };
const VOCABULARY = 1024;
const LENGTH = 192;
const PRETRAINING = { steps: 300, sequenceLength: 192 };
export const RECIPE =
  `BPE of ${VOCABULARY} tokens, dim ${MODEL.dim}, depth ${MODEL.depth}, ${PRETRAINING.steps} steps of pretraining, ` +
  `${LENGTH} tokens of prompt and response`;

/** A tokenizer and a language model of the texts of `pairs`. Dispose of the model. */
export async function pretrained(pairs, folder, seed) {
  mkdirSync(folder, { recursive: true });
  const texts = pairs.flatMap(({ prompt, chosen, rejected }) => [prompt + chosen, prompt + rejected]);
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(trainBpe(texts, VOCABULARY)));
  const tokenizer = await loadTokenizer(folder);
  const tokens = Int32Array.from(texts.flatMap((text) => [...tokenizer.encode(text), tokenizer.eosToken]));
  const model = new PaLM({ numTokens: tokenizer.vocabSize, ...MODEL, seed });
  const config = pretrainConfig.parse({ ...PRETRAINING, seed });
  const text = new Windows(tokens, config.sequenceLength);
  await finish(methods.pretrain.assemble(config, { model, text }));
  return { tokenizer, model };
}

/** Trains a reward model with `options` on `train`. @returns it; dispose of it. */
export async function judgeOf({ model }, train, options) {
  const assembled = methods.reward.assemble(rewardConfig.parse(options), { model, pairs: train });
  await finish(assembled);
  return assembled.parts.weights;
}

async function finish({ train, parts }) {
  for await (const _ of train());
  parts.optimizer.dispose();
}

/** `pairs` as tokens, in their order; none may be lost. */
export async function tokensOf(pairs, { tokenizer }, folder) {
  const file = join(folder, 'pairs.jsonl');
  const rows = pairs.map(({ prompt, chosen, rejected }) => JSON.stringify({ prompt, chosen, rejected }));
  writeFileSync(file, `${rows.join('\n')}\n`);
  const { pairs: tokens } = await loadPreferences(file, tokenizer, { maxLength: LENGTH });
  return tokens;
}

/** The score of the chosen response of each pair minus that of the rejected one. */
export async function gapsOf(judge, pairs) {
  const gaps = [];
  for (let begin = 0; begin < pairs.length; begin += 16) {
    const some = pairs.slice(begin, begin + 16);
    const rows = some.flatMap(({ prompt, chosen, rejected }) => [chosen, rejected].map((answer) => [prompt, answer]));
    const lengths = rows.map(([prompt, answer]) => prompt.length + answer.length);
    const width = Math.max(...lengths);
    const padded = rows.flatMap(([prompt, answer], i) => [...prompt, ...answer, ...Array(width - lengths[i]).fill(0)]);
    const sequences = Tensor.from(Int32Array.from(padded), { shape: [rows.length, width] });
    const score = await judge.score(sequences, { promptLengths: rows.map(([prompt]) => prompt.length), lengths });
    const scores = Array.from(await score.data());
    for (const tensor of [sequences, score]) tensor.dispose();
    for (let i = 0; i < scores.length; i += 2) gaps.push(scores[i] - scores[i + 1]);
  }
  return gaps;
}
