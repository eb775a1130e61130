/** Online DPO: a policy from a pretrained model, prompts, and what judges the answers. */
import * as z from 'zod';
import { type OnlineDpoConfig, onlineDpoConfig } from '../config/online-dpo.ts';
import { onlineDpo } from '../trainers/online-dpo.ts';
import type { Method } from './method.ts';
import { assemblePolicy, onPolicyFiles, openPolicy, type PolicyIngredients, WATCHED } from './on-policy.ts';

const schema = z.strictObject({ ...onPolicyFiles, ...onlineDpoConfig.shape });
type Config = z.output<typeof schema>;

export const onlineDpoMethod = {
  summary: 'train a policy by feedback, DPO on the best and worst answers',
  watched: WATCHED,
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

function assemble<C extends OnlineDpoConfig>(given: C, ingredients: PolicyIngredients) {
  return assemblePolicy(given, ingredients, onlineDpo);
}

async function open(config: Config) {
  return await openPolicy(config, true, assemble);
}
