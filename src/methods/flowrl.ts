/** FlowRL: a policy from a pretrained model, prompts, and what judges the answers. */
import * as z from 'zod';
import { type FlowrlConfig, flowrlConfig } from '../config/flowrl.ts';
import { withPartition } from '../models/flowrl-plan.ts';
import { FlowrlPolicy } from '../models/flowrl-policy.ts';
import { flowrl } from '../trainers/flowrl.ts';
import type { Method } from './method.ts';
import { assemblePolicy, onPolicyFiles, openLearner, type PolicyIngredients, WATCHED } from './on-policy.ts';

const schema = z.strictObject({ ...onPolicyFiles, ...flowrlConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of FlowRL. */
export type FlowrlIngredients = PolicyIngredients<FlowrlPolicy>;

export const flowrlMethod = {
  summary: 'train a policy by feedback, towards a share for every good answer',
  watched: WATCHED,
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

function assemble<C extends FlowrlConfig>(given: C, ingredients: FlowrlIngredients) {
  return assemblePolicy(given, ingredients, flowrl);
}

async function open(config: Config) {
  return await openLearner<Config, FlowrlPolicy>(config, true, assemble, {
    create: (model, { reference: _, ...options }) => new FlowrlPolicy(model, options),
    planned: withPartition,
  });
}
