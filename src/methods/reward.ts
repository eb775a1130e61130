/** Reward modelling: trains a reward model from a pretrained model and preferences. */
import { z } from 'zod';
import { path } from '../config/fields.ts';
import { out, rules, tokenizer } from '../config/inputs.ts';
import { type RewardConfig, rewardConfig } from '../config/reward.ts';
import { Batches } from '../data/batches.ts';
import type { Preference } from '../data/preferences.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planReward } from '../models/memory-plan.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { RewardModel } from '../models/reward-model.ts';
import { findModelOf, tokenizerOf } from '../runs/model-file.ts';
import { reward, rewardSteps } from '../trainers/reward.ts';
import { rewardSchedule } from '../trainers/schedule.ts';
import type { Method, Opened } from './method.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { loadPairs, pairFiles } from './preferences.ts';

const schema = z.strictObject({
  model: path.describe('model to build on: a run folder or a model file'),
  ...pairFiles,
  out,
  tokenizer,
  rules,
  ...rewardConfig.shape,
});
type Config = z.output<typeof schema>;

/** The ingredients of reward-model training. */
export interface RewardIngredients {
  /** The trunk of the reward model; with LoRA its weights do not change. */
  model: LanguageModel;
  pairs: readonly Preference[];
  /** Held-out pairs; without them there are no validation metrics and no score statistics. */
  validation?: readonly Preference[] | undefined;
}

export const rewardMethod = {
  summary: 'train a reward model on preferences',
  watched: ['validationAccuracy', 'validationLoss', 'loss', 'accuracy', 'margin'],
  schema,
  before: (saved) => ({ rules: 'v1', ...saved }),
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new reward model, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends RewardConfig>(given: C, { model, pairs, validation }: RewardIngredients) {
  const { lora, dropout, pooling, batchSize, seed } = given;
  const steps = rewardSteps(pairs.length, given);
  const batches = new Batches({ size: pairs.length, batchSize, seed });
  const rewardModel = new RewardModel(model, { lora, dropout, pooling, seed });
  const { lr } = rewardSchedule(rewardModel, steps, given);
  const config = { ...given, lr };
  const optimizer = optimizerOf(rewardModel.parameters(), config);
  return {
    config,
    steps,
    parts: { weights: rewardModel, optimizer, batches },
    train: (start = 0) => reward({ rewardModel, optimizer, pairs, batches, validation }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  const { device, lora, dropout, batchSize } = config;
  const file = await findModelOf(config.model, MODEL_KINDS);
  const tokenizer = await tokenizerOf(config.tokenizer, file);
  const { pairs, validation, rows, notices, longest: length } = await loadPairs(config, tokenizer);
  return {
    plan: planReward(file.decoder, { batchSize, length, lora, dropout }),
    notices,
    async start() {
      const model = await loadModel(file.path, { device });
      const assembled = assemble(config, { model, pairs, validation });
      const parameters = countNumbers(assembled.parts.weights.parameters());
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, validation: config.validation, model: file.path },
        rows,
        sizes: {
          'trainable parameters': parameters,
          'training pairs': pairs.length,
          'validation pairs': validation.length,
        },
      };
    },
  };
}
