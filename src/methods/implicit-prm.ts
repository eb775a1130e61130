/** An implicit process reward model: a policy whose log-ratios are rewards, from a pretrained model and labelled responses. */
import * as z from 'zod';
import { type ImplicitPrmConfig, implicitPrmConfig } from '../config/implicit-prm.ts';
import { ImplicitPRM } from '../models/implicit-prm.ts';
import { implicitPrm } from '../trainers/implicit-prm.ts';
import type { Method } from './method.ts';
import { labelFiles } from './preferences.ts';
import { assemblePolicy, type LabelIngredients, openLabels, policyFiles } from './recorded.ts';

const schema = z.strictObject({ ...policyFiles(labelFiles), ...implicitPrmConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of an implicit process reward model. */
export type ImplicitPrmIngredients = LabelIngredients;

export const implicitPrmMethod = {
  summary: 'train a reward for every token from responses labelled right or wrong',
  watched: ['loss', 'accuracy', 'margin', 'validationLoss', 'validationAuc'],
  schema,
  open: (config: Config) => openLabels(config, assemble),
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new ImplicitPRM, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends ImplicitPrmConfig>(
  given: C,
  { model, labels, validation, samples }: ImplicitPrmIngredients,
) {
  const { lora, seed, beta } = given;
  const { numLayersUnfrozen } = given.optimisation;
  const { config, steps, policy, optimizer, batches } = assemblePolicy(given, {
    rows: labels.length,
    what: 'labels',
    create: () => new ImplicitPRM(model, { lora, seed, beta, numLayersUnfrozen }),
  });
  return {
    config,
    steps,
    parts: { weights: policy, optimizer, batches },
    train: (start = 0) => implicitPrm({ policy, optimizer, batches, labels, validation, samples }, config, start),
  };
}
