/** KTO: a policy from a pretrained model and labelled responses. */
import { z } from 'zod';
import { type KtoConfig, ktoConfig } from '../config/kto.ts';
import type { Label } from '../data/labels.ts';
import type { LanguageModel } from '../models/language-model.ts';
import { checkStepRows, kto } from '../trainers/kto.ts';
import { RunningMean } from '../trainers/log-ratios.ts';
import type { SamplePrompts } from '../trainers/samples.ts';
import type { Method, Opened } from './method.ts';
import { labelFiles, loadLabels } from './preferences.ts';
import { assemblePolicy, openPolicy, policyFiles } from './recorded.ts';

const schema = z.strictObject({ ...policyFiles(labelFiles), ...ktoConfig.shape });
type Config = z.output<typeof schema>;

/** The ingredients of KTO. */
export interface KtoIngredients {
  /** The model to train; with LoRA its weights do not change. */
  model: LanguageModel;
  labels: readonly Label[];
  /** Held-out labelled responses; without them there are no validation metrics. */
  validation?: readonly Label[] | undefined;
  /** Prompts that are answered at each evaluation. */
  samples?: SamplePrompts | undefined;
}

export const ktoMethod = {
  summary: 'train a policy on responses labelled good or bad',
  watched: ['loss', 'accuracy', 'margin', 'kl', 'validationLoss'],
  schema,
  open,
  assemble,
} satisfies Method<typeof schema>;

/** `weights` is a new policy, which the caller must dispose of; `config` has the learning rate filled in. */
function assemble<C extends KtoConfig>(given: C, { model, labels, validation, samples }: KtoIngredients) {
  checkStepRows(given);
  const rows = { rows: labels.length, what: 'labels' };
  const { config, steps, policy, optimizer, batches } = assemblePolicy(given, { model, ...rows, reference: true });
  const rewardMean = config.loss === 'bco' ? new RunningMean() : undefined;
  return {
    config,
    steps,
    parts: { weights: policy, optimizer, batches, rewardMean },
    train: (start = 0) => kto({ policy, optimizer, batches, labels, validation, samples, rewardMean }, config, start),
  };
}

async function open(config: Config): Promise<Opened> {
  checkStepRows(config);
  return await openPolicy(config, {
    load: loadLabels,
    plan: { reference: true, responses: 1 },
    assemble: (given, model, { labels, validation }, samples) =>
      assemble(given, { model, labels, validation, samples }),
    sizes: ({ labels, validation }) => ({ 'labelled responses': labels.length, 'held out': validation.length }),
  });
}
