/** The configuration of pretraining on text; the defaults suit a megabyte of text and take minutes on two CPU cores. */
import * as z from 'zod';
import { evaluation } from './evaluation.ts';
import { checkpointWatchingLoss, computing, count, dtype, path } from './fields.ts';
import { limits, lr, optimizer, schedule } from './optimisation.ts';
import { palmConfig } from './palm.ts';

// The tokenizer sets the vocabulary, the run sets device and dtype, and text models are always causal.
const model = palmConfig
  .omit({ numTokens: true, causal: true, device: true, dtype: true, seed: true, ignoreIndex: true })
  .extend({
    dim: palmConfig.shape.dim.default(128),
    depth: palmConfig.shape.depth.default(4),
    heads: palmConfig.shape.heads.default(4),
    dimHead: palmConfig.shape.dimHead.default(32),
  });

export const pretrainConfig = z.strictObject({
  model: model.prefault({}).describe('the model; the tokenizer sets its vocabulary'),
  tokenizer: path
    .default('byte')
    .meta({ description: 'byte, or the path of a tokenizer.json or its folder', expected: 'byte or a path' }),
  sequenceLength: z.int().min(2).default(256).describe('target tokens per training sequence'),
  batchSize: count.default(8).describe('sequences per batch'),
  accumulate: count.default(1).describe('batches per optimizer step (gradient accumulation)'),
  steps: count.default(1500).describe('optimizer steps'),
  lr: lr.default(3e-3).describe('peak learning rate'),
  ...schedule,
  decay: z
    .enum(['cosine', 'linear', 'constant'])
    .default('cosine')
    .describe('how the learning rate falls after the warm-up'),
  ...optimizer({ betas: [0.9, 0.99], weightDecay: 0.1 }),
  ...limits,
  validationFraction: z.number().min(0).lt(1).default(0.1).describe('share of the text to hold out, from its end'),
  evaluateEvery: count.default(250).describe('steps between evaluations; the last step is always evaluated'),
  evaluateBatches: count.default(64).describe('max batches of held-out text per evaluation'),
  evaluation,
  checkpoint: checkpointWatchingLoss(500),
  ...computing,
  dtype,
});

/** The options of pretraining, apart from text. */
export type { PretrainConfigInput } from './options/pretrain.ts';
/** The same with every default filled in. */
export type PretrainConfig = z.output<typeof pretrainConfig>;
