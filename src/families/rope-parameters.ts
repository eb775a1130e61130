/** What config.json says of rotary positions, as an object of its own. */
import * as z from 'zod';

/** A number above 0. */
export const positive = z.number().gt(0).max(1e12);
const factors = z.array(positive).min(1).max(32_768);
/** What `rope_parameters` and `rope_scaling` may say. */
export const ropeParameters = z.strictObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: positive.nullish(),
  partial_rotary_factor: z.number().gt(0).max(1).nullish(),
  factor: positive.nullish(),
  original_max_position_embeddings: positive.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  attention_factor: positive.nullish(),
  beta_fast: positive.nullish(),
  beta_slow: positive.nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  truncate: z.boolean().nullish(),
  short_factor: factors.nullish(),
  long_factor: factors.nullish(),
});
export type RopeParameters = z.output<typeof ropeParameters>;
