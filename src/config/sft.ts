/** How a model is trained on prompts and responses (supervised fine-tuning); docs/sft.md has the formulas. */
import * as z from 'zod';
import { count, lora } from './fields.ts';
import { batching, policyLearning } from './pairs.ts';

export const sftConfig = z.strictObject({
  epochs: count.default(3).describe('passes over the rows'),
  ...batching('rows'),
  lossOn: z
    .enum(['response', 'all'])
    .default('response')
    .describe('which tokens are targets: those of the response, or those of the prompt too'),
  loss: z
    .enum(['nll', 'dft'])
    .default('nll')
    .describe('nll, or dft: every token weighted by its own probability (dynamic fine-tuning)'),
  packing: z.boolean().default(true).describe('put several short rows into one; the numbers stay the same'),
  decay: z
    .enum(['cosine', 'linear', 'constant'])
    .default('cosine')
    .describe('how the learning rate falls after the warm-up'),
  ...policyLearning('rows'),
  lora: lora.default(false),
});

/** The options of supervised fine-tuning, apart from model and rows. */
export type { SftConfigInput } from './options/sft.ts';
/** The options of supervised fine-tuning with defaults filled in. */
export type SftConfig = z.output<typeof sftConfig>;
