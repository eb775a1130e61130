/** Fields of commands that read models and rows, and of those that fill a folder. */
import { z } from 'zod';
import { path } from './fields.ts';

export const tokenizer = path
  .optional()
  .describe('byte, or the path of a tokenizer.json or its folder; that of the model unless given');

/** Of what draws text. */
export const stop = z
  .string()
  .min(1)
  .optional()
  .describe('text that ends a response, beside the eos; looked for by its tokens');

/** Of what reads rows; a run of 0.1.0 has `v1`, so that it goes on with the same ones. */
export const rules = z
  .enum(['v1', 'v2'])
  .default('v2')
  .describe('how rows are told, cut, compared, held out and padded; v1 is how 0.1.0 did it, in runs that it began');

export const out = path.describe('folder of the run');
