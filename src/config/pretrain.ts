/** How a new model is trained on text; the defaults suit a megabyte of text and minutes on two CPU cores. */
import { z } from 'zod';
import {
  betas,
  checkpointWatchingLoss,
  count,
  deterministic,
  device,
  dtype,
  path,
  seed,
  warmupSteps,
} from './fields.ts';
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
  lr: z.number().gt(0).default(3e-3).describe('highest learning rate'),
  minLr: z.number().min(0).optional().describe('learning rate at the end; a tenth of lr unless given'),
  warmupSteps: warmupSteps.optional(),
  decay: z.enum(['cosine', 'linear', 'constant']).default('cosine').describe('how the learning rate falls after that'),
  betas: betas(0.9, 0.99),
  weightDecay: z.number().min(0).default(0.1).describe('weight decay of AdamW'),
  maxGradNorm: z.number().gt(0).default(1).describe('gradient norm above which gradients are scaled down'),
  maxSkippedSteps: count.default(5).describe('steps in a row with numbers that are not finite, which end the run'),
  validationFraction: z.number().min(0).lt(1).default(0.1).describe('share at the end of the text that is held out'),
  evaluateEvery: count.default(250).describe('steps between validation losses; the last step always has one'),
  evaluateBatches: count.default(64).describe('batches of held-out text in a validation loss, at most'),
  checkpoint: checkpointWatchingLoss(500),
  seed,
  device,
  deterministic,
  dtype,
});

/** What pretraining takes besides text. */
export type PretrainConfigInput = z.input<typeof pretrainConfig>;
/** The same with every default filled in. */
export type PretrainConfig = z.output<typeof pretrainConfig>;
