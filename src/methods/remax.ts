/** ReMax: a policy from a pretrained model, prompts, and what judges the answers. */
import * as z from 'zod';
import { type RemaxConfig, remaxConfig } from '../config/remax.ts';
import { remax } from '../trainers/remax.ts';
import type { Method } from './method.ts';
import { assemblePolicy, onPolicyFiles, openPolicy, type PolicyIngredients, WATCHED } from './on-policy.ts';

const schema = z.strictObject({ ...onPolicyFiles, ...remaxConfig.shape });
type Config = z.output<typeof schema>;

export const remaxMethod = {
  summary: 'train a policy by feedback, against its greedy answers',
  watched: WATCHED,
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

function assemble<C extends RemaxConfig>(given: C, ingredients: PolicyIngredients) {
  return assemblePolicy(given, ingredients, remax);
}

async function open(config: Config) {
  return await openPolicy(config, config.klWeight > 0, assemble);
}
