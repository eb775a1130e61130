/** RLOO: a policy from a pretrained model, prompts, and what judges the answers. */
import * as z from 'zod';
import { type RlooConfig, rlooConfig } from '../config/rloo.ts';
import { rloo } from '../trainers/rloo.ts';
import type { Method } from './method.ts';
import { assemblePolicy, onPolicyFiles, openPolicy, type PolicyIngredients, WATCHED } from './on-policy.ts';

const schema = z.strictObject({ ...onPolicyFiles, ...rlooConfig.shape });
type Config = z.output<typeof schema>;

export const rlooMethod = {
  summary: 'train a policy by feedback, each answer against the others',
  watched: WATCHED,
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

function assemble<C extends RlooConfig>(given: C, ingredients: PolicyIngredients) {
  return assemblePolicy(given, ingredients, rloo);
}

async function open(config: Config) {
  return await openPolicy(config, config.klWeight > 0, assemble);
}
