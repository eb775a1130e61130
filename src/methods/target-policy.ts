/** Target policy optimisation: a policy from a pretrained model, prompts, and what judges the answers. */
import * as z from 'zod';
import { type TargetPolicyConfig, targetPolicyConfig } from '../config/target-policy.ts';
import { targetPolicy } from '../trainers/target-policy.ts';
import type { Method } from './method.ts';
import { assemblePolicy, onPolicyFiles, openPolicy, type PolicyIngredients, WATCHED } from './on-policy.ts';

const schema = z.strictObject({ ...onPolicyFiles, ...targetPolicyConfig.shape });
type Config = z.output<typeof schema>;

export const targetPolicyMethod = {
  summary: 'train a policy towards a target over its answers',
  watched: WATCHED,
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

function assemble<C extends TargetPolicyConfig>(given: C, ingredients: PolicyIngredients) {
  return assemblePolicy(given, ingredients, targetPolicy);
}

async function open(config: Config) {
  return await openPolicy(config, false, assemble);
}
