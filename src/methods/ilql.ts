/** ILQL: a policy and its values from a pretrained model and samples with rewards. */
import * as z from 'zod';
import { paths } from '../config/fields.ts';
import { type IlqlConfig, ilqlConfig } from '../config/ilql.ts';
import { reading } from '../config/inputs.ts';
import { Batches } from '../data/batches.ts';
import { formOptions } from '../data/forms/read.ts';
import { loadSamples, type ScoredSample } from '../data/samples.ts';
import { IlqlPolicy } from '../models/ilql-policy.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planIlql } from '../models/ilql-plan.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { findModelOf, loadingOf, textOf } from '../runs/model-file.ts';
import { ilql } from '../trainers/ilql.ts';
import { pairSteps } from '../trainers/pairs.ts';
import { defaultPolicyRate } from '../trainers/schedule.ts';
import type { Method, Opened } from './method.ts';
import { cutRows, skippedRows } from './notices.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { policyFiles } from './recorded.ts';

const data = paths.describe('files with {prompt, completion, reward}; repeatable');
const schema = z.strictObject({ ...policyFiles({ data, ...reading }), ...ilqlConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of ILQL. */
export interface IlqlIngredients {
  /** The model to train; with LoRA its weights stay as they are. */
  model: LanguageModel;
  samples: readonly ScoredSample[];
}

export const ilqlMethod = {
  summary: 'train a policy and its values on samples with rewards',
  schema,
  watched: ['loss', 'qLoss', 'valueLoss', 'awacLoss', 'advantage'],
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, the caller's to dispose of; `config` has the learning rate that was chosen. */
function assemble<C extends IlqlConfig>(given: C, { model, samples }: IlqlIngredients) {
  const { lora, batchSize, seed, numLayersUnfrozen } = given;
  const steps = pairSteps(samples.length, given);
  const policy = new IlqlPolicy(model, { lora, seed, numLayersUnfrozen });
  const config = { ...given, lr: given.lr ?? defaultPolicyRate(policy) };
  const optimizer = optimizerOf(policy.parameters(), config);
  const batches = new Batches({ size: samples.length, batchSize, seed });
  return {
    config,
    steps,
    parts: { weights: policy, optimizer, batches },
    train: (start = 0) => ilql({ policy, optimizer, samples, batches }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  const { device, lora, batchSize, maxLength, maxPromptLength, numLayersUnfrozen } = config;
  const file = await findModelOf(config.model, MODEL_KINDS, config);
  const tokenizer = await textOf(config, file);
  const { samples, cut, skipped } = await loadSamples(
    config.data,
    tokenizer,
    { maxLength, maxPromptLength },
    { ...formOptions(config), chat: tokenizer.chat },
  );
  const longest = (of: (sample: ScoredSample) => number) =>
    samples.reduce((max, sample) => Math.max(max, of(sample)), 0);
  const length = longest(({ prompt, response }) => prompt.length + response.length);
  const responseLength = longest(({ response }) => response.length);
  return {
    plan: planIlql(file.decoder, { batchSize, length, responseLength, lora, numLayersUnfrozen }),
    notices: [...skippedRows(skipped), ...cutRows({ ...cut }, samples.length)],
    async start() {
      const assembled = assemble(config, {
        model: await loadModel(file.path, loadingOf(file, tokenizer, device)),
        samples,
      });
      const parameters = countNumbers(assembled.parts.weights.parameters());
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, model: file.path },
        rows: {
          samples: samples.length,
          skipped: skipped.length,
          promptsCut: cut.prompts,
          responsesCut: cut.responses,
        },
        sizes: { 'trainable parameters': parameters, samples: samples.length },
      };
    },
  };
}
