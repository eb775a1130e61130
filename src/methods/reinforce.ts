/** REINFORCE++: a policy from a pretrained model, prompts, and what judges the answers. */
import * as z from 'zod';
import { type ReinforceConfig, reinforceConfig } from '../config/reinforce.ts';
import { reinforce } from '../trainers/reinforce.ts';
import type { Method } from './method.ts';
import { assemblePolicy, onPolicyFiles, openPolicy, type PolicyIngredients, WATCHED } from './on-policy.ts';

const schema = z.strictObject({ ...onPolicyFiles, ...reinforceConfig.shape });
type Config = z.output<typeof schema>;

export const reinforceMethod = {
  summary: 'train a policy by feedback with REINFORCE++',
  watched: WATCHED,
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

function assemble<C extends ReinforceConfig>(given: C, ingredients: PolicyIngredients) {
  return assemblePolicy(given, ingredients, reinforce);
}

async function open(config: Config) {
  return await openPolicy(config, config.klWeight > 0, assemble);
}
