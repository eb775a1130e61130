/** KTO: a policy from a pretrained model and labelled responses. */
import * as z from 'zod';
import { type KtoConfig, ktoConfig } from '../config/kto.ts';
import { Policy } from '../models/policy.ts';
import { checkStepRows, kto } from '../trainers/kto.ts';
import { RunningMean } from '../trainers/log-ratios.ts';
import type { Method, Opened } from './method.ts';
import { labelFiles } from './preferences.ts';
import { assemblePolicy, type LabelIngredients, openLabels, policyFiles } from './recorded.ts';

const schema = z.strictObject({ ...policyFiles(labelFiles), ...ktoConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of KTO. */
export type KtoIngredients = LabelIngredients;

export const ktoMethod = {
  summary: 'train a policy on responses labelled good or bad',
  watched: ['loss', 'accuracy', 'margin', 'kl', 'validationLoss'],
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends KtoConfig>(given: C, { model, labels, validation, samples }: KtoIngredients) {
  checkStepRows(given);
  const { lora, seed } = given;
  const { numLayersUnfrozen } = given.optimisation;
  const create = () => new Policy(model, { lora, seed, reference: true, numLayersUnfrozen });
  const rows = { rows: labels.length, what: 'labels' };
  const { config, steps, policy, optimizer, batches } = assemblePolicy(given, { ...rows, create });
  const rewardMean = config.loss === 'bco' ? new RunningMean() : undefined;
  return {
    config,
    steps,
    parts: { weights: policy, optimizer, batches, rewardMean },
    train: (start = 0) => kto({ policy, optimizer, batches, labels, validation, samples, rewardMean }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  checkStepRows(config);
  return await openLabels(config, assemble);
}
