/** `palm generate`: continues prompts, one as it is sampled or many at once, as text or as JSON lines. */
import { fstatSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import * as z from 'zod';
import { count, path } from '../config/fields.ts';
import { MODEL, stop } from '../config/inputs.ts';
import { samplingConfig } from '../config/sampling.ts';
import { loadPrompts } from '../data/prompts.ts';
import { deriveSeed } from '../data/random.ts';
import { ArgumentError } from '../errors.ts';
import { IlqlPolicy } from '../models/ilql-policy.ts';
import type { GenerateInput, LanguageModel } from '../models/language-model.ts';
import { adapterOf, loadScoped, MODEL_KINDS } from '../models/registry.ts';
import { answerPrompts, silentTokens } from '../runs/answers.ts';
import { chatTextOf, findModelOf, loadingOf, type ModelFile, type ModelText, plainTextOf } from '../runs/model-file.ts';
import { stopSequences } from '../tokenizer/stop-sequences.ts';
import { decodeStream, endTokens, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { loading, placeOf } from './model-options.ts';
import { configuredCommand } from './options.ts';

const sampling = samplingConfig
  .omit({ eosToken: true, stop: true, suppress: true, padToken: true, samplesPerPrompt: true })
  .extend({
    maxNewTokens: samplingConfig.shape.maxNewTokens.default(512),
  });

const schema = z.strictObject({
  model: path.describe(MODEL),
  prompt: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'text to continue; - reads it from stdin (default: what is piped in, else a newline)' }),
  chat: z.boolean().default(false).describe("write the prompt as a user's message by the model's chat template"),
  data: path.optional().describe('prompts to continue: .jsonl with {prompt}, or with preferences'),
  samples: count.default(1).describe('continuations of each prompt'),
  json: z.boolean().default(false).describe('print a line of JSON for each continuation: {prompt, response}'),
  batchSize: count.default(16).describe('prompts continued at once, with --data'),
  beta: z
    .number()
    .min(0)
    .optional()
    .describe("how strongly an ilql model's values steer the tokens (default: the policy alone)"),
  ...sampling.shape,
  stop,
  scope: z.string().min(1).optional().describe('adapters to use (default: actor, or the only ones)'),
  ...loading,
});
type Config = z.output<typeof schema>;

/** The `generate` command. */
export function generateCommand(): Command {
  return configuredCommand('generate', schema, generate, 'model', 'prompt').description(
    'continue a prompt, or the prompts of a file, until the end of the text',
  );
}

async function generate(config: Config): Promise<void> {
  const file = await findModelOf(await placeOf(config.model, config), MODEL_KINDS, config);
  const tokenizer = config.chat ? await chatTextOf(config, file) : await plainTextOf(config, file);
  const prompts = await promptsOf(config, tokenizer);
  using source = await sourceOf(file, config.beta, loadingOf(file, tokenizer, config.device));
  const { model, readout } = source;
  const drawing = { ...config, readout, scope: config.scope ?? adapterOf(model.scopes, file.path) };
  const [first = []] = prompts;
  if (prompts.length === 1 && config.samples === 1 && !config.json)
    return await printStream(model, tokenizer, first, drawing);
  await printAnswers(model, tokenizer, prompts, drawing);
}

/** What tokens are sampled from: a model, or with `beta` a policy's readout of it. @throws ArgumentError if it has no values. */
async function sourceOf({ path, kind }: ModelFile, beta: number | undefined, loading: ReturnType<typeof loadingOf>) {
  if (beta === undefined) {
    const model = await loadScoped(path, loading);
    return { model, readout: undefined, [Symbol.dispose]: () => model.dispose() };
  }
  if (kind !== 'IlqlPolicy') {
    const received = `${beta} for a model without values of tokens`;
    throw new ArgumentError({ argument: '--beta', received, expected: 'a model trained by ilql' });
  }
  const policy = await IlqlPolicy.load(path, { device: loading.device });
  const readout = policy.readout({ beta });
  const dispose = () => {
    for (const each of [readout, policy, policy.model]) each.dispose();
  };
  return { model: policy.model, readout, [Symbol.dispose]: dispose };
}

/** The prompts to continue, as tokens. @throws ArgumentError, FileError, DataError */
async function promptsOf({ prompt, data }: Config, tokenizer: ModelText): Promise<number[][]> {
  if (data !== undefined) {
    if (prompt !== undefined)
      throw new ArgumentError({ argument: '--prompt', received: 'a prompt and --data', expected: 'one of them' });
    const limits = { maxPromptLength: Number.MAX_SAFE_INTEGER };
    return (await loadPrompts(data, tokenizer, limits, { chat: tokenizer.chat })).prompts;
  }
  const text = prompt === undefined || prompt === '-' ? pipedText(prompt === '-') : prompt;
  const { chat } = tokenizer;
  const content = text ?? '\n';
  const tokens = chat
    ? await chat.prompt([{ role: 'user', content }])
    : tokenizer.encode(content, { special: 'begin' });
  if (tokens.length > 0) return [tokens];
  throw new ArgumentError({ argument: '--prompt', problem: 'needs at least one token, such as a newline' });
}

/** What a shell pipes in or redirects from a file, without its last newline; with `asked`, stdin whatever it is. */
function pipedText(asked: boolean): string | undefined {
  const input = fstatSync(0);
  if (!asked && !input.isFIFO() && !input.isFile()) return undefined;
  return readFileSync(0, 'utf8').replace(/\n$/, '') || undefined;
}

type Drawing = Config & { scope: string | undefined; readout: GenerateInput['readout'] };

/** The options of sampling, without those of the command. */
function samplingOf(config: Drawing, tokenizer: Tokenizer) {
  const { maxNewTokens, temperature, topK, topP, minP, weights, seed, scope, readout, stop } = config;
  const filters = { temperature, topK, topP, minP };
  return { maxNewTokens, ...filters, weights, seed, scope, readout, stop: stopSequences(stop, tokenizer) };
}

async function printStream(
  model: LanguageModel,
  tokenizer: Tokenizer,
  prompt: readonly number[],
  config: Drawing,
): Promise<void> {
  const suppress = silentTokens(tokenizer, model.decoder.numTokens);
  const stream = model.stream({ ...samplingOf(config, tokenizer), prompt, eosToken: endTokens(tokenizer), suppress });
  const text = decodeStream(tokenizer);
  if (!config.chat) for (const token of prompt) process.stdout.write(text.push(token));
  for await (const { token } of stream) process.stdout.write(text.push(token));
  process.stdout.write(`${text.end()}\n`);
}

async function printAnswers(
  model: LanguageModel,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  config: Drawing,
): Promise<void> {
  const { samples: samplesPerPrompt, batchSize, json } = config;
  const options = samplingOf(config, tokenizer);
  let printed = 0;
  for (let begin = 0; begin < prompts.length; begin += batchSize) {
    const seed = options.seed === undefined ? undefined : deriveSeed(options.seed, begin) % 2 ** 32;
    const some = prompts.slice(begin, begin + batchSize);
    for (const answer of await answerPrompts(model, tokenizer, some, { ...options, seed, samplesPerPrompt })) {
      const prompt = tokenizer.decode(answer.prompt);
      const text = json ? JSON.stringify({ prompt, response: answer.text }) : `${prompt}${answer.text}`;
      process.stdout.write(`${!json && printed++ > 0 ? '\n' : ''}${text}\n`);
    }
  }
}
