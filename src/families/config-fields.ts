/** Fields of config.json that many families have. */
import * as z from 'zod';

/** Widths and counts: no model comes near the limits, and a file cannot ask for more. */
const size = z
  .int()
  .min(1)
  .max(2 ** 20);

/** A width or count, with the default of the class. */
export function width(byDefault: number) {
  return size.default(byDefault);
}

/** A width that follows from others where it is absent or null. */
export const optionalWidth = size.nullish();

/** The most layers, and the most heads. */
export const MAX_COUNT = 4096;

/** The number of layers or heads. */
export function count(byDefault: number) {
  return z.int().min(1).max(MAX_COUNT).default(byDefault);
}

/** A norm's epsilon. */
export function epsilon(byDefault: number) {
  return z.number().min(0).max(1).default(byDefault);
}

/** A switch. */
export function flag(byDefault: boolean) {
  return z.boolean().default(byDefault);
}

/** The tokens that one sees, itself included; null for all. */
export function window(byDefault: number | null) {
  return size.nullable().default(byDefault);
}

/** A factor or scale. */
export function factor(byDefault: number) {
  return z.number().min(-1e12).max(1e12).default(byDefault);
}

const ACTIVATIONS = {
  silu: 'silu',
  swish: 'silu',
  relu: 'relu',
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'geluTanh',
  gelu_fast: 'geluTanh',
  gelu_pytorch_tanh: 'geluTanh',
} as const;
type ActivationWord = keyof typeof ACTIVATIONS;

/** An activation by one of its many names. */
export function activation(byDefault: ActivationWord) {
  const words = Object.keys(ACTIVATIONS) as [ActivationWord, ...ActivationWord[]];
  return z
    .enum(words)
    .default(byDefault)
    .transform((word) => ACTIVATIONS[word]);
}

/** Layers with a window or without. */
export const layerTypes = z
  .array(z.enum(['full_attention', 'sliding_attention']))
  .max(MAX_COUNT)
  .nullish();
export type LayerType = 'full_attention' | 'sliding_attention';
