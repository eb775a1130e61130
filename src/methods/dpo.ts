/** DPO: a policy from a pretrained model and preferences. */
import * as z from 'zod';
import { type DpoConfig, dpoConfig } from '../config/dpo.ts';
import { rules } from '../config/inputs.ts';
import { dpo, dpoLossOf } from '../trainers/dpo.ts';
import { RunningMean } from '../trainers/log-ratios.ts';
import type { Method } from './method.ts';
import { pairFiles } from './preferences.ts';
import { assemblePairs, openPairs, type PairIngredients, policyFiles } from './recorded.ts';

const schema = z.strictObject({ ...policyFiles(pairFiles), rules, ...dpoConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of DPO. */
export type DpoIngredients = PairIngredients;

export const dpoMethod = {
  summary: 'train a policy on preferences, without a reward model',
  watched: ['loss', 'accuracy', 'margin', 'validationLoss', 'validationAccuracy'],
  schema,
  open: async (config: Config) => {
    dpoLossOf(config);
    return await openPairs(config, true, assemble);
  },
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends DpoConfig>(given: C, ingredients: DpoIngredients) {
  dpoLossOf(given);
  const rewardMean = given.mixture.bcoWeight > 0 ? new RunningMean() : undefined;
  return assemblePairs(given, ingredients, { reference: true, rewardMean, train: dpo });
}
