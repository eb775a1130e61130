/**
 * The entries of a palm-rlhf-pytorch state_dict that are not parameters but required by `load_state_dict`: the alias of
 * the token embedding, and buffers that are determined by the sizes.
 */

/** The alias of `token_emb.weight`. */
export const LOGITS = 'to_logits.weight';

const DERIVED = /(^|\.)(norm\.beta|rotary_emb\.inv_freq|rotary_emb\.scale)$|^(palm\.)?to_logits\.weight$/;

/** Whether nothing in the tensor `name` is learned. */
export function isDerived(name: string): boolean {
  return DERIVED.test(name);
}

/** Whether `name` is a LayerNorm bias. The library never trains these, so in its files they are zero. */
export function isNormBias(name: string): boolean {
  return name.endsWith('norm.beta');
}

/** The names of the buffers of a model with `depth` layers. */
export function bufferNames(depth: number): string[] {
  const blocks = Array.from({ length: depth }, (_, layer) => `layers.${layer}.fn`);
  return [
    'norm.beta',
    ...blocks.flatMap((b) => [`${b}.norm.beta`, `${b}.rotary_emb.inv_freq`, `${b}.rotary_emb.scale`]),
  ];
}

/** The values of the buffer `name`, rounded as in the library: [dim] for a norm, [dimHead / 2] for positions. */
export function bufferValues(name: string, { dim, dimHead }: { dim: number; dimHead: number }): Float32Array {
  if (isNormBias(name)) return new Float32Array(dim);
  const places = Float32Array.from({ length: dimHead / 2 }, (_, i) => 2 * i);
  return name.endsWith('inv_freq')
    ? places.map((place) => 1 / Math.fround(10000 ** Math.fround(place / dimHead)))
    : places.map((place) => Math.fround(place + 0.4 * dimHead) / Math.fround(1.4 * dimHead));
}
