/** `palm generate`: generates text and prints it as it is sampled. */
import type { Command } from 'commander';
import { z } from 'zod';
import { device, path } from '../config/fields.ts';
import { stop, tokenizer } from '../config/inputs.ts';
import { samplingConfig } from '../config/sampling.ts';
import { ArgumentError } from '../errors.ts';
import { IlqlPolicy } from '../models/ilql-policy.ts';
import { POLICY_KINDS } from '../models/model-file.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { findModelOf, type ModelFile, tokenizerOf } from '../runs/model-file.ts';
import { stopSequences } from '../tokenizer/stop-sequences.ts';
import { decodeStream, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { configuredCommand } from './options.ts';

const sampling = samplingConfig
  .omit({ eosToken: true, stop: true, suppress: true, padToken: true, samplesPerPrompt: true })
  .extend({
    maxNewTokens: samplingConfig.shape.maxNewTokens.default(512),
  });

const schema = z.strictObject({
  model: path.describe('run folder or model file'),
  beta: z
    .number()
    .min(0)
    .optional()
    .describe("how strongly an ilql model's values steer the tokens (default: the policy alone)"),
  prompt: z.string().min(1).default('\n').meta({ description: 'text to continue' }),
  ...sampling.shape,
  stop,
  scope: z.string().min(1).optional().describe('adapters to use (default: actor, if the model has them)'),
  tokenizer,
  device,
});

/** The `generate` command. */
export function generateCommand(): Command {
  return configuredCommand('generate', schema, generate, 'model').description(
    'continue a prompt until the end of the text',
  );
}

/** Tokens of the model that stand for no text. */
function silentTokens({ eosToken, padToken }: Tokenizer, numTokens: number): number[] {
  return padToken === undefined || padToken === eosToken || padToken >= numTokens ? [] : [padToken];
}

/** What tokens are sampled from: a model, or with `beta` a policy's readout of it. @throws ArgumentError if it has no values. */
async function sourceOf({ path, kind }: ModelFile, beta: number | undefined, device: string) {
  if (beta === undefined) {
    const model = await loadModel(path, { device });
    return { model, readout: undefined, [Symbol.dispose]: () => model.dispose() };
  }
  if (kind !== 'IlqlPolicy') {
    const received = `${beta} for a model without values of tokens`;
    throw new ArgumentError({ argument: '--beta', received, expected: 'a model trained by ilql' });
  }
  const policy = await IlqlPolicy.load(path, { device });
  const readout = policy.readout({ beta });
  const dispose = () => {
    for (const each of [readout, policy, policy.model]) each.dispose();
  };
  return { model: policy.model, readout, [Symbol.dispose]: dispose };
}

async function generate(config: z.output<typeof schema>): Promise<void> {
  const { model: place, beta, prompt, scope, tokenizer: asked, device, stop, ...sampling } = config;
  const file = await findModelOf(place, [...MODEL_KINDS, ...POLICY_KINDS]);
  const tokenizer = await tokenizerOf(asked, file);
  const tokens = tokenizer.encode(prompt);
  if (tokens.length === 0)
    throw new ArgumentError({ argument: '--prompt', problem: 'needs at least one token, such as a newline' });
  using source = await sourceOf(file, beta, device);
  const { model, readout } = source;
  const stream = model.stream({
    ...sampling,
    readout,
    prompt: tokens,
    eosToken: tokenizer.eosToken,
    stop: stopSequences(stop, tokenizer),
    suppress: silentTokens(tokenizer, model.decoder.numTokens),
    scope: scope ?? (model.scopes.includes('actor') ? 'actor' : undefined),
  });
  const text = decodeStream(tokenizer);
  for (const token of tokens) process.stdout.write(text.push(token));
  for await (const { token } of stream) process.stdout.write(text.push(token));
  process.stdout.write(`${text.end()}\n`);
}
