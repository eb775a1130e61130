/** ORPO: a policy from a model and preferences, in place of SFT and DPO. */
import * as z from 'zod';
import { type OrpoConfig, orpoConfig } from '../config/orpo.ts';
import { rules } from '../config/inputs.ts';
import { orpo } from '../trainers/orpo.ts';
import type { Method } from './method.ts';
import { pairFiles } from './preferences.ts';
import { assemblePairs, openPairs, type PairIngredients, policyFiles } from './recorded.ts';

const schema = z.strictObject({ ...policyFiles(pairFiles), rules, ...orpoConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of ORPO. */
export type OrpoIngredients = PairIngredients;

export const orpoMethod = {
  summary: 'train a policy on preferences by likelihood and odds, without a reference',
  watched: ['loss', 'accuracy', 'margin', 'validationLoss', 'validationAccuracy'],
  schema,
  open: async (config: Config) => await openPairs(config, false, assemble),
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends OrpoConfig>(given: C, ingredients: OrpoIngredients) {
  return assemblePairs(given, ingredients, { reference: false, train: orpo });
}
