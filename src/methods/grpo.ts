/** GRPO and its relatives: a policy from a pretrained model, prompts, and what judges the answers. */
import * as z from 'zod';
import { type GrpoConfig, grpoConfig } from '../config/grpo.ts';
import { checkTogether, grpo } from '../trainers/grpo.ts';
import type { Method } from './method.ts';
import { assemblePolicy, onPolicyFiles, openPolicy, type PolicyIngredients, WATCHED } from './on-policy.ts';

const schema = z.strictObject({ ...onPolicyFiles, ...grpoConfig.shape });
type Config = z.output<typeof schema>;

export const grpoMethod = {
  summary: 'train a policy by feedback, without a critic',
  watched: WATCHED,
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

function assemble<C extends GrpoConfig>(given: C, ingredients: PolicyIngredients) {
  return assemblePolicy(given, ingredients, grpo);
}

async function open(config: Config) {
  checkTogether(config);
  return await openPolicy(config, config.klWeight > 0, assemble);
}
