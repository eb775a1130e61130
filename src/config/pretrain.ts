/** How a new model is trained on text; the defaults suit a megabyte of text and minutes on two CPU cores. */
import { z } from 'zod';
import { checkpointWatchingLoss, computing, count, dtype, path } from './fields.ts';
import { limits, lr, optimizer, schedule } from './optimisation.ts';
import { palmConfig } from './palm.ts';

// The tokenizer gives the vocabulary, the run the device and the precision, and text is always modelled causally.
const model = palmConfig
  .omit({ numTokens: true, causal: true, device: true, dtype: true, seed: true, ignoreIndex: true })
  .extend({
    dim: palmConfig.shape.dim.default(128),
    depth: palmConfig.shape.depth.default(4),
    heads: palmConfig.shape.heads.default(4),
    dimHead: palmConfig.shape.dimHead.default(32),
  });

export const pretrainConfig = z.strictObject({
  model: model.prefault({}).describe('the model; its vocabulary is the tokenizer’s'),
  tokenizer: path
    .default('byte')
    .meta({ description: 'byte, or the path of a tokenizer.json or its folder', expected: 'byte or a path' }),
  sequenceLength: z.int().min(2).default(256).describe('targets in a training sequence'),
  batchSize: count.default(8).describe('sequences in a batch'),
  accumulate: count.default(1).describe('batches whose gradients make one step'),
  steps: count.default(1500).describe('optimizer steps'),
  lr: lr.default(3e-3).describe('highest learning rate'),
  ...schedule,
  decay: z.enum(['cosine', 'linear', 'constant']).default('cosine').describe('how the learning rate falls after that'),
  ...optimizer({ betas: [0.9, 0.99], weightDecay: 0.1 }),
  ...limits,
  validationFraction: z.number().min(0).lt(1).default(0.1).describe('share at the end of the text that is held out'),
  evaluateEvery: count.default(250).describe('steps between validation losses; the last step always has one'),
  evaluateBatches: count.default(64).describe('batches of held-out text in a validation loss, at most'),
  checkpoint: checkpointWatchingLoss(500),
  ...computing,
  dtype,
});

/** What pretraining takes besides text. */
export type PretrainConfigInput = z.input<typeof pretrainConfig>;
/** The same with every default filled in. */
export type PretrainConfig = z.output<typeof pretrainConfig>;
