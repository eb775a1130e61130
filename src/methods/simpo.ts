/** SimPO: a policy from a model and preferences, without a reference. */
import * as z from 'zod';
import { type SimpoConfig, simpoConfig } from '../config/simpo.ts';
import { rules } from '../config/inputs.ts';
import { simpo } from '../trainers/simpo.ts';
import type { Method } from './method.ts';
import { pairFiles } from './preferences.ts';
import { assemblePairs, openPairs, type PairIngredients, policyFiles } from './recorded.ts';

const schema = z.strictObject({ ...policyFiles(pairFiles), rules, ...simpoConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of SimPO. */
export type SimpoIngredients = PairIngredients;

export const simpoMethod = {
  summary: 'train a policy on preferences by mean log-probability, without a reference',
  watched: ['loss', 'accuracy', 'margin', 'validationLoss', 'validationAccuracy'],
  schema,
  open: async (config: Config) => await openPairs(config, false, assemble),
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends SimpoConfig>(given: C, ingredients: SimpoIngredients) {
  return assemblePairs(given, ingredients, { reference: false, train: simpo });
}
