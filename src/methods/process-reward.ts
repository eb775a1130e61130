/** Process rewards: a reward model that judges every step of a solution. */
import * as z from 'zod';
import { type ProcessRewardConfig, processRewardConfig } from '../config/process-reward.ts';
import { Batches } from '../data/batches.ts';
import { formOptions } from '../data/forms/read.ts';
import type { Paths } from '../data/records.ts';
import { countLabels, type Solution, withNeutral } from '../data/solutions.ts';
import { loadRows } from '../data/token-rows.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { planReward } from '../models/memory-plan.ts';
import { loadModel, MODEL_KINDS } from '../models/registry.ts';
import { RewardModel } from '../models/reward-model.ts';
import { findModelOf, loadingOf, tokenizerOf } from '../runs/model-file.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { pairSteps } from '../trainers/pairs.ts';
import { processReward } from '../trainers/process-reward.ts';
import { rewardSchedule } from '../trainers/schedule.ts';
import { type ReadRows, readHoldingOut, rowFiles, usableRows } from './held-out.ts';
import type { Method, Opened } from './method.ts';
import { countNumbers, optimizerOf } from './optimizer.ts';
import { policyFiles } from './recorded.ts';

const files = rowFiles('{prompt, completions, labels} or any form that gives steps with labels', 'solutions');
const { chatTemplate: _, ...own } = policyFiles(files, 'build on');
const schema = z.strictObject({ ...own, ...processRewardConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of process rewards. */
export interface ProcessRewardIngredients {
  /** The trunk of the reward model; with LoRA its weights do not change. */
  model: LanguageModel;
  solutions: readonly Solution[];
  /** Held-out solutions; without them there are no validation metrics. */
  validation?: readonly Solution[] | undefined;
}

export const processRewardMethod = {
  summary: 'train a reward model on labels of steps',
  watched: ['loss', 'accuracy', 'validationLoss', 'validationAccuracy', 'gradNorm'],
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new reward model, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends ProcessRewardConfig>(given: C, ingredients: ProcessRewardIngredients) {
  const { model, solutions, validation } = ingredients;
  const { lora, dropout, batchSize, seed } = given;
  const steps = pairSteps(solutions.length, given, 'solutions');
  const batches = new Batches({ size: solutions.length, batchSize, seed });
  const rewardModel = new RewardModel(model, { lora, dropout, pooling: 'last', seed });
  const { lr } = rewardSchedule(rewardModel, steps, given);
  const config = { ...given, lr };
  const optimizer = optimizerOf(rewardModel.parameters(), { ...given.optimisation, lr });
  return {
    config,
    steps,
    parts: { weights: rewardModel, optimizer, batches },
    train: (start = 0) => processReward({ rewardModel, optimizer, solutions, batches, validation }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  const { device, lora, dropout, batchSize } = config;
  const file = await findModelOf(config.model, MODEL_KINDS, config);
  const tokenizer = await tokenizerOf(config.tokenizer, file);
  const read = await readHoldingOut(config, (paths) => readSolutions(paths, config, tokenizer), tokensOf);
  const { train: solutions, validation, counts, notices, longest: length } = read;
  return {
    // A row of pairs is two sequences.
    plan: planReward(file.decoder, { batchSize: Math.ceil(batchSize / 2), length, lora, dropout }),
    notices,
    async start() {
      const model = await loadModel(file.path, loadingOf(file, tokenizer, device));
      const assembled = assemble(config, { model, solutions, validation });
      const parameters = countNumbers(assembled.parts.weights.parameters());
      return {
        ...assembled,
        tokenizer,
        inputs: { data: config.data, validation: config.validation, model: file.path },
        rows: { solutions: solutions.length, ...counts },
        sizes: { 'trainable parameters': parameters, solutions: solutions.length, 'held out': validation.length },
      };
    },
  };
}

/** Solutions with at least one label. */
async function readSolutions(paths: Paths, config: Config, tokenizer: Tokenizer): Promise<ReadRows<Solution>> {
  const { maxLength, maxPromptLength, neutral } = config;
  const limits = { maxLength, maxPromptLength, overlong: 'cut' } as const;
  const read = await loadRows('steps', paths, tokenizer, limits, formOptions(config));
  const rows = read.rows.map((row) => withNeutral(row, neutral));
  return usableRows(paths, { ...read, rows }, (row) => countLabels([row]) > 0, 'none of its steps has a label');
}

function tokensOf({ prompt, steps }: Solution): number {
  return steps.reduce((sum, { tokens }) => sum + tokens.length, prompt.length);
}
