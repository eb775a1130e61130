/** The hyperparameters of the optimizers. */
import { z } from 'zod';
import { betas } from './fields.ts';

const lr = z.number().min(0);
const weightDecay = z.number().min(0);

export const adamWConfig = z.strictObject({
  lr: lr.default(1e-3).describe('learning rate'),
  betas: betas(0.9, 0.999),
  eps: z.number().min(0).default(1e-8).describe('added to the root of the squared gradient'),
  weightDecay: weightDecay.default(0.01).describe('share of a weight that a step at lr 1 would take away'),
});

const atan2Config = z.strictObject({
  lr: lr.default(1e-4).describe('learning rate'),
  betas: betas(0.9, 0.99),
  weightDecay: weightDecay.default(0).describe('share of a weight that a step takes away, at the first learning rate'),
});

export const adoptAtan2Config = atan2Config;
export const adamAtan2Config = atan2Config;

export type AdamWConfigInput = z.input<typeof adamWConfig>;
export type AdamWConfig = z.output<typeof adamWConfig>;
export type Atan2ConfigInput = z.input<typeof atan2Config>;
export type Atan2Config = z.output<typeof atan2Config>;
