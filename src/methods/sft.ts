/** Supervised fine-tuning: a policy that answers as the responses of some files do. */
import * as z from 'zod';
import { type SftConfig, sftConfig } from '../config/sft.ts';
import { Batches } from '../data/batches.ts';
import { type TrainingExample, targetsOf } from '../data/completions.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planPretraining } from '../models/memory-plan.ts';
import { Policy } from '../models/policy.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { findModelOf, loadingOf, textOf } from '../runs/model-file.ts';
import { pairSteps } from '../trainers/pairs.ts';
import type { SamplePrompts } from '../trainers/samples.ts';
import { defaultSftRate } from '../trainers/schedule.ts';
import { sft } from '../trainers/sft.ts';
import { exampleFiles, loadExamples } from './examples.ts';
import type { Method, Opened } from './method.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { policyFiles, promptsOf, SAMPLE_TOKENS } from './recorded.ts';

const schema = z.strictObject({ ...policyFiles(exampleFiles), ...sftConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of supervised fine-tuning. */
export interface SftIngredients {
  /** The model to train; with LoRA its weights do not change. */
  model: LanguageModel;
  /** Prompts with responses, or whole texts. */
  examples: readonly TrainingExample[];
  /** Held-out rows; without them there is no `validationLoss`. */
  validation?: readonly TrainingExample[] | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

export const sftMethod = {
  summary: 'train a model on prompts and responses',
  watched: ['loss', 'validationLoss', 'tokenAccuracy', 'entropy', 'gradNorm'],
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends SftConfig>(given: C, { model, examples, validation, samples }: SftIngredients) {
  const { lora, batchSize, seed } = given;
  const { numLayersUnfrozen } = given.optimisation;
  const steps = pairSteps(examples.length, given, 'examples');
  const policy = new Policy(model, { lora, seed, numLayersUnfrozen });
  const config = { ...given, lr: given.lr ?? defaultSftRate(policy) };
  const optimizer = optimizerOf(policy.parameters(), { ...given.optimisation, lr: config.lr });
  const batches = new Batches({ size: examples.length, batchSize, seed });
  return {
    config,
    steps,
    parts: { weights: policy, optimizer, batches },
    train: (start = 0) => sft({ policy, optimizer, examples, batches, validation, samples }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  const { device, lora, batchSize } = config;
  const { numLayersUnfrozen } = config.optimisation;
  const file = await findModelOf(config.model, MODEL_KINDS, config);
  const tokenizer = await textOf(config, file);
  const { train: examples, validation, counts, notices, longest: length } = await loadExamples(config, tokenizer);
  const prompts = promptsOf(validation.map(askedIn), 2);
  const samples = { prompts, maxNewTokens: SAMPLE_TOKENS, tokenizer };
  return {
    plan: planPretraining(file.decoder, { batchSize, length, lora, numLayersUnfrozen }),
    notices,
    async start() {
      const model = await loadModel(file.path, loadingOf(file, tokenizer, device));
      const assembled = assemble(config, { model, examples, validation, samples });
      const parameters = countNumbers(assembled.parts.weights.parameters());
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, validation: config.validation, model: file.path },
        rows: { rows: examples.length, ...counts },
        sizes: { 'trainable parameters': parameters, rows: examples.length, 'held out': validation.length },
      };
    },
  };
}

/** What stands before the first token to learn; of a text, its first token. */
function askedIn(example: TrainingExample): { prompt: number[] } {
  const { tokens, targets } = targetsOf(example, 'response');
  return { prompt: tokens.slice(0, targets.indexOf(true)) };
}
