/** The hyperparameters of the optimizers. */
import * as z from 'zod';
import { betas } from './fields.ts';

const lr = z.number().min(0);
const weightDecay = z.number().min(0);

export const adamWConfig = z.strictObject({
  lr: lr.default(1e-3).describe('learning rate'),
  betas: betas(0.9, 0.999),
  // Without eps, a weight whose gradients were all 0 would become 0 / 0. Smaller numbers lose precision in float32.
  eps: z.number().min(1.2e-38).default(1e-8).describe('added to the denominator for numerical stability'),
  weightDecay: weightDecay.default(0.01).describe('share of a weight that a step at lr 1 would subtract'),
});

const atan2Lr = z.number().gt(0).default(1e-4);

export const adoptAtan2Config = z.strictObject({
  // Weight decay is relative to the initial learning rate, which therefore cannot be 0.
  lr: atan2Lr.describe('initial learning rate'),
  betas: betas(0.9, 0.99),
  weightDecay: weightDecay.default(0).describe('share of a weight that a step at the initial lr subtracts'),
});

export const adamAtan2Config = z.strictObject({
  lr: atan2Lr.describe('learning rate'),
  betas: betas(0.9, 0.99),
  weightDecay: weightDecay.default(0).describe('share of a weight that a step at lr 1 would subtract'),
});

/** The options of `new AdamW`. */
export type { AdamWConfigInput } from './options/optim.ts';
/** The options of `new AdoptAtan2`. */
export type { AdoptAtan2ConfigInput } from './options/optim.ts';
/** The options of `new AdamAtan2`. */
export type { AdamAtan2ConfigInput } from './options/optim.ts';
export type Atan2Config = z.output<typeof adoptAtan2Config>;
