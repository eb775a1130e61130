/** DPO: a policy from a pretrained model and preferences. */
import { z } from 'zod';
import { type DpoConfig, dpoConfig } from '../config/dpo.ts';
import { path } from '../config/fields.ts';
import { out, rules, tokenizer } from '../config/inputs.ts';
import { Batches } from '../data/batches.ts';
import type { Preference } from '../data/preferences.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planPreferences } from '../models/memory-plan.ts';
import { Policy } from '../models/policy.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { findModelOf, tokenizerOf } from '../runs/model-file.ts';
import type { SamplePrompts } from '../trainers/samples.ts';
import { dpo } from '../trainers/dpo.ts';
import { pairSteps } from '../trainers/pairs.ts';
import { defaultPolicyRate } from '../trainers/schedule.ts';
import type { Method, Opened } from './method.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { loadPairs, pairFiles } from './preferences.ts';

const schema = z.strictObject({
  model: path.describe('the model to train: the folder of its run, or its file'),
  ...pairFiles,
  out,
  tokenizer,
  rules,
  ...dpoConfig.shape,
});
type Config = z.output<typeof schema>;

/** Tokens of the answers that a run shows. */
const SAMPLE_TOKENS = 64;

/** The ingredients of DPO. */
export interface DpoIngredients {
  /** The model to train; with LoRA its weights stay as they are. */
  model: LanguageModel;
  pairs: readonly Preference[];
  /** Held-out pairs; without them there are no validation metrics. */
  validation?: readonly Preference[] | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

export const dpoMethod = {
  summary: 'train a policy on preferences, without a reward model',
  watched: ['loss', 'accuracy', 'margin', 'validationLoss', 'validationAccuracy'],
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, the caller's to dispose of; `config` has the learning rate that was chosen. */
function assemble<C extends DpoConfig>(given: C, { model, pairs, validation, samples }: DpoIngredients) {
  const { lora, batchSize, seed } = given;
  const steps = pairSteps(pairs.length, given);
  const policy = new Policy(model, { lora, seed, reference: true });
  const config = { ...given, lr: given.lr ?? defaultPolicyRate(policy) };
  const optimizer = optimizerOf(policy.parameters(), config);
  const batches = new Batches({ size: pairs.length, batchSize, seed });
  return {
    config,
    steps,
    parts: { weights: policy, optimizer, batches },
    train: (start = 0) => dpo({ policy, optimizer, pairs, batches, validation, samples }, config, start),
  };
}

/** The first `count` different prompts. */
function promptsOf(pairs: readonly Preference[], count: number): number[][] {
  const different = new Map(pairs.map(({ prompt }) => [prompt.join(), prompt]));
  return [...different.values()].filter(({ length }) => length > 0).slice(0, count);
}

async function open(config: Config): Promise<Opened> {
  const { device, lora, batchSize } = config;
  const file = await findModelOf(config.model, MODEL_KINDS);
  const tokenizer = await tokenizerOf(config.tokenizer, file);
  const { pairs, validation, rows, notices, longest: length } = await loadPairs(config, tokenizer);
  const samples = { prompts: promptsOf(validation, 2), maxNewTokens: SAMPLE_TOKENS, tokenizer };
  return {
    plan: planPreferences(file.decoder, { batchSize, length, lora }),
    notices,
    async start() {
      const model = await loadModel(file.path, { device });
      const assembled = assemble(config, { model, pairs, validation, samples });
      const parameters = countNumbers(assembled.parts.weights.parameters());
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, validation: config.validation, model: file.path },
        rows,
        sizes: { 'trainable parameters': parameters, pairs: pairs.length, 'held out': validation.length },
      };
    },
  };
}
