/** Reward modelling: trains a reward model from a pretrained model and preferences or ratings. */
import * as z from 'zod';
import { rules } from '../config/inputs.ts';
import { type RewardConfig, rewardConfig } from '../config/reward.ts';
import { Batches } from '../data/batches.ts';
import type { Completion } from '../data/completions.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planReward } from '../models/memory-plan.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { RewardModel } from '../models/reward-model.ts';
import { findModelOf, loadingOf, textOf } from '../runs/model-file.ts';
import { reward, type RewardRows, rewardSteps } from '../trainers/reward.ts';
import { rewardSchedule } from '../trainers/schedule.ts';
import type { Method, Opened } from './method.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { policyFiles } from './recorded.ts';
import { comparisonFiles, loadComparisons, loadReferences } from './rankings.ts';

const schema = z.strictObject({
  ...policyFiles(comparisonFiles, 'build on'),
  rules,
  ...rewardConfig.shape,
});
type Config = z.output<typeof schema>;

/** The ingredients of reward-model training. */
export interface RewardIngredients {
  /** The trunk of the reward model; with LoRA its weights do not change. */
  model: LanguageModel;
  /** Pairs, or several ranked responses to each prompt; or rated responses. */
  pairs: RewardRows;
  /** Held out; without it there are no validation metrics and no score statistics. */
  validation?: RewardRows | undefined;
  /** Answers whose mean score becomes 0 at the end. */
  references?: readonly Completion[] | undefined;
}

export const rewardMethod = {
  summary: 'train a reward model on preferences or ratings',
  watched: ['validationAccuracy', 'validationLoss', 'validationError', 'loss', 'accuracy', 'margin'],
  schema,
  before: (saved) => ({ rules: 'v1', ...saved }),
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new reward model, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends RewardConfig>(given: C, { model, pairs, validation, references }: RewardIngredients) {
  const { lora, dropout, pooling, batchSize, seed } = given;
  const steps = rewardSteps(pairs.length, given);
  const batches = new Batches({ size: pairs.length, batchSize, seed });
  const rewardModel = new RewardModel(model, { numBins: given.rating.bins, lora, dropout, pooling, seed });
  const { lr } = rewardSchedule(rewardModel, steps, given);
  const config = { ...given, lr };
  const optimizer = optimizerOf(rewardModel.parameters(), config);
  return {
    config,
    steps,
    parts: { weights: rewardModel, optimizer, batches },
    train: (start = 0) => reward({ rewardModel, optimizer, pairs, batches, validation, references }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  const { device, lora, dropout, batchSize } = config;
  const file = await findModelOf(config.model, MODEL_KINDS, config);
  const tokenizer = await textOf(config, file);
  const { pairs, validation, rows, notices, longest: length, perPrompt } = await loadComparisons(config, tokenizer);
  const references = await loadReferences(config, tokenizer);
  return {
    plan: planReward(file.decoder, { batchSize: Math.ceil((batchSize * perPrompt) / 2), length, lora, dropout }),
    notices,
    async start() {
      const model = await loadModel(file.path, loadingOf(file, tokenizer, device));
      const assembled = assemble(config, { model, pairs, validation, references });
      const what = 'ratings' in rows ? 'ratings' : 'pairs';
      const parameters = countNumbers(assembled.parts.weights.parameters());
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, validation: config.validation, references: config.references, model: file.path },
        rows,
        sizes: {
          'trainable parameters': parameters,
          [`training ${what}`]: pairs.length,
          [`validation ${what}`]: validation.length,
        },
      };
    },
  };
}
