/** CPO: a policy from a model and preferences, without a reference. */
import * as z from 'zod';
import { type CpoConfig, cpoConfig } from '../config/cpo.ts';
import { rules } from '../config/inputs.ts';
import { cpo, cpoLossOf } from '../trainers/cpo.ts';
import type { Method } from './method.ts';
import { pairFiles } from './preferences.ts';
import { assemblePairs, openPairs, type PairIngredients, policyFiles } from './recorded.ts';

const schema = z.strictObject({ ...policyFiles(pairFiles), rules, ...cpoConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of CPO. */
export type CpoIngredients = PairIngredients;

export const cpoMethod = {
  summary: 'train a policy on preferences by margin and likelihood, without a reference',
  watched: ['loss', 'accuracy', 'margin', 'validationLoss', 'validationAccuracy'],
  schema,
  open: async (config: Config) => {
    cpoLossOf(config);
    return await openPairs(config, false, assemble);
  },
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends CpoConfig>(given: C, ingredients: CpoIngredients) {
  cpoLossOf(given);
  return assemblePairs(given, ingredients, { reference: false, train: cpo });
}
