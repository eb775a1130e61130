/** `palm evaluate`: perplexity on a text; scores of answers by a reward, alone or against another model. */
import type { Command } from 'commander';
import * as z from 'zod';
import { count, device, path, seed } from '../config/fields.ts';
import { chatTemplate, MODEL, stop, tokenizer } from '../config/inputs.ts';
import { rewardSource } from '../config/reward-source.ts';
import { scores as scoreFields } from '../config/rollouts.ts';
import { loadPrompts } from '../data/prompts.ts';
import { loadText, Windows } from '../data/text.ts';
import { ArgumentError } from '../errors.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { type Estimate, estimate, type JudgedAnswers, judgeAnswers, meanOf, wins } from '../rewards/evaluation.ts';
import { openReward } from '../rewards/open.ts';
import { adapterNotices, findModelOf, loadingOf, textOf } from '../runs/model-file.ts';
import { stopSequences } from '../tokenizer/stop-sequences.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { validationLoss } from '../trainers/pretrain.ts';
import { configuredCommand } from './options.ts';
import { type Row, table } from './table.ts';

const schema = z.strictObject({
  model: path.describe(MODEL),
  data: path.optional().describe('a text, for the perplexity'),
  prompts: path.optional().describe('prompts to answer: .jsonl with {prompt}, or with preferences'),
  reward: rewardSource.optional(),
  against: path.optional().describe('another model, for the win rate'),
  samples: count.default(1).describe('answers to each prompt'),
  maxNewTokens: count.default(64).describe('max tokens per answer'),
  temperature: z.number().min(0).default(1).describe('divides the logits; below 1e-6, the most likely token is chosen'),
  maxPromptLength: count.default(96).describe('max tokens of a prompt, kept from its end'),
  sequenceLength: count.default(256).describe('tokens of the text that are read together'),
  batchSize: count.default(16).describe('prompts answered, or sequences read, at once'),
  examples: z.int().min(0).default(3).describe('answers to print'),
  json: z.boolean().default(false).describe('print one JSON document'),
  ...scoreFields,
  stop,
  seed,
  tokenizer,
  chatTemplate,
  device,
});
type Config = z.output<typeof schema>;

/** The `evaluate` command. */
export function evaluateCommand(): Command {
  return configuredCommand('evaluate', schema, evaluate, 'model').description(
    'measure a model: perplexity on a text, scores by a reward, win rate against another model',
  );
}

/** What was measured; what was not asked for is absent. */
interface Measured {
  text?: { tokens: number; loss: number; perplexity: number };
  answers?: Summary;
  against?: Summary;
  winRate?: Estimate;
  examples?: { prompt: string; response: string; score: number; against?: string; againstScore?: number }[];
}

interface Summary {
  model: string;
  score: Estimate;
  /** The means of several rewards, by name. */
  parts: Record<string, number>;
  responseLength: number;
  eosShare: number;
}

async function evaluate(config: Config): Promise<void> {
  checkQuestions(config);
  const file = await findModelOf(config.model, MODEL_KINDS);
  const other = config.against === undefined ? undefined : await findModelOf(config.against, MODEL_KINDS);
  const reward = config.reward === undefined ? undefined : await openReward(config.reward, config.score);
  const files = [...(other ? [other] : []), ...(reward?.models ?? [])];
  const tokenizer = await textOf(config, file, ...files);
  for (const line of [file, ...(other ? [other] : [])].flatMap(adapterNotices)) console.error(line);
  using model = await loadModel(file.path, loadingOf(file, tokenizer, config.device));
  const measured: Measured = {};
  if (config.data !== undefined) measured.text = await perplexity(model, tokenizer, config.data, config);
  if (config.prompts !== undefined && reward !== undefined) {
    const { maxPromptLength, samples } = config;
    const { prompts } = await loadPrompts(config.prompts, tokenizer, { maxPromptLength }, { chat: tokenizer.chat });
    const judge = await reward.load(config.device);
    const judged = await judgeAnswers(model, tokenizer, prompts, judge, answering(config, tokenizer));
    measured.answers = summary(config.model, judged, samples);
    let others: JudgedAnswers | undefined;
    if (other !== undefined) {
      using second = await loadModel(other.path, loadingOf(other, tokenizer, config.device));
      others = await judgeAnswers(second, tokenizer, prompts, judge, answering(config, tokenizer));
      measured.against = summary(config.against as string, others, samples);
      measured.winRate = estimate(wins(judged.scores, others.scores), samples);
    }
    measured.examples = examplesOf(judged, others, config);
  }
  console.log(config.json ? JSON.stringify(measured, null, 2) : readable(measured));
}

/** @throws ArgumentError if the options do not say what to measure, or belong to nothing that is measured. */
function checkQuestions({ data, prompts, reward, against }: Config): void {
  const refuse = (argument: string, received: string, expected: string) => {
    throw new ArgumentError({ argument, received, expected });
  };
  if (data === undefined && prompts === undefined)
    refuse('palm evaluate', 'nothing to measure', '--data with a text, or --prompts and --reward, or both');
  if ((prompts === undefined) !== (reward === undefined))
    refuse(prompts === undefined ? '--prompts' : '--reward', 'nothing', '--prompts and --reward together');
  if (against !== undefined && prompts === undefined) refuse('--against', against, '--prompts and --reward with it');
}

async function perplexity(model: LanguageModel, tokenizer: Tokenizer, data: string, config: Config) {
  const tokens = await loadText(data, tokenizer);
  const windows = new Windows(tokens, Math.min(config.sequenceLength, Math.max(1, tokens.length - 1)), data);
  const { batchSize } = config;
  const loss = await validationLoss(model, windows, {
    batchSize,
    evaluateBatches: Math.ceil(windows.size / batchSize),
  });
  return { tokens: windows.size * windows.length, loss, perplexity: Math.exp(loss) };
}

function answering(config: Config, tokenizer: Tokenizer) {
  const { samples: samplesPerPrompt, maxNewTokens, temperature, seed, batchSize, score } = config;
  const stop = stopSequences(config.stop, tokenizer);
  return { samplesPerPrompt, maxNewTokens, temperature, seed, batchSize, timeout: score.timeout, stop };
}

function summary(model: string, { answers, scores, parts, eosShare }: JudgedAnswers, samples: number): Summary {
  return {
    model,
    score: estimate(scores, samples),
    parts: Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, meanOf(part)])),
    responseLength: meanOf(answers.map(({ response }) => response.length)),
    eosShare,
  };
}

function examplesOf({ answers, scores }: JudgedAnswers, others: JudgedAnswers | undefined, config: Config) {
  const rows = answers.map((_, row) => row).filter((row) => row % config.samples === 0);
  return rows.slice(0, config.examples).map((row) => {
    const { promptText = '', responseText = '' } = answers[row] ?? {};
    const own = { prompt: promptText, response: responseText, score: scores[row] as number };
    if (others === undefined) return own;
    return { ...own, against: others.answers[row]?.responseText ?? '', againstScore: others.scores[row] as number };
  });
}

function readable({ text, answers, against, winRate, examples = [] }: Measured): string {
  const rows: Row[] = [
    ['tokens', text?.tokens.toLocaleString('en-US')],
    ['loss (nats per token)', text?.loss.toFixed(4)],
    ['perplexity', text?.perplexity.toFixed(3)],
    ...(answers === undefined ? [] : summaryRows(answers)),
    ...(against === undefined ? [] : summaryRows(against)),
    ['win rate', winRate && shown(winRate)],
  ];
  const samples = examples.map(({ prompt, response, score, against, againstScore }) => {
    const other: Row[] = [
      ['against', against && JSON.stringify(against)],
      ['its score', againstScore?.toFixed(4)],
    ];
    return table([
      ['prompt', JSON.stringify(prompt)],
      ['response', JSON.stringify(response)],
      ['score', score.toFixed(4)],
      ...other,
    ]);
  });
  return [table(rows), ...samples].join('\n\n');
}

function summaryRows({ model, score, parts, responseLength, eosShare }: Summary): Row[] {
  return [
    ['answers of', model],
    ['score', shown(score)],
    ...Object.entries(parts).map(([name, mean]): Row => [`score.${name}`, mean.toFixed(4)]),
    ['response length', responseLength.toFixed(1)],
    ['ended by themselves', eosShare.toFixed(2)],
  ];
}

/** A mean with its standard error. */
function shown({ mean, standardError }: Estimate): string {
  return `${mean.toFixed(4)}${standardError === undefined ? '' : ` ± ${standardError.toFixed(4)} (standard error)`}`;
}
