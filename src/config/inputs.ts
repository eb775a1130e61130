/** Fields of commands that read models or rows, or write to a run folder. */
import * as z from 'zod';
import { folder, path } from './fields.ts';

/** What can stand for a model that generates text. */
export const MODEL =
  'run folder, checkpoint, model file, Hugging Face folder, .gguf file, or a model of the hub (org/name)';

export const tokenizer = path
  .optional()
  .describe("byte, or the path of a tokenizer.json or its folder (default: the model's)");

/** For commands that read conversations. */
export const chatTemplate = path
  .optional()
  .describe(
    "how conversations are written: the name of one of the model's chat templates, a .jinja file, or none for plain text (default: the model's)",
  );

/** For commands that may load a model in a format of others. */
export const loadedDtype = z
  .enum(['float32', 'bfloat16', 'float64'])
  .optional()
  .describe(
    'element type to compute in, of a model in a format of others (default: that of its files, and float32 for .gguf)',
  );

/** For commands that generate text. */
export const stop = z
  .string()
  .min(1)
  .optional()
  .describe('text that ends a response, in addition to eos; matched by its tokens');

/** For commands that read rows. A run of 0.1.0 uses `v1`, so that it resumes with the same rows. */
export const rules = z
  .enum(['v1', 'v2'])
  .default('v2')
  .describe('how rows are detected, truncated, compared, held out and padded; v1 is for resuming runs of 0.1.0');

export const out = folder.describe('run folder');

/** For commands that read rows of any form: how they are read, where their first row does not say it. */
export const reading = {
  form: z
    .string()
    .min(1)
    .optional()
    .describe('form of the rows (default: the one that the first row has; docs/data.md lists them)'),
  map: z
    .string()
    .regex(/^[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*$/)
    .optional()
    .meta({
      description: 'other names of fields, such as chosen=better,rejected=worse',
      expected: 'names such as chosen=better,rejected=worse',
    }),
};
