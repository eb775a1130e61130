/**
 * What a state_dict of palm-rlhf-pytorch has besides parameters, and `load_state_dict` refuses to do without: the second name of
 * the token embedding, and buffers that follow from the sizes.
 */

/** The second name of `token_emb.weight`. */
export const LOGITS = 'to_logits.weight';

const DERIVED = /(^|\.)(norm\.beta|rotary_emb\.inv_freq|rotary_emb\.scale)$|^(palm\.)?to_logits\.weight$/;

/** Whether the tensor `name` holds nothing that is learned. */
export function isDerived(name: string): boolean {
  return DERIVED.test(name);
}

/** Names of the biases of LayerNorm, which the library never trains: zero, or the file is from elsewhere. */
export function isNormBias(name: string): boolean {
  return name.endsWith('norm.beta');
}

/** The buffers of a model with `depth` layers. */
export function bufferNames(depth: number): string[] {
  const blocks = Array.from({ length: depth }, (_, layer) => `layers.${layer}.fn`);
  return [
    'norm.beta',
    ...blocks.flatMap((b) => [`${b}.norm.beta`, `${b}.rotary_emb.inv_freq`, `${b}.rotary_emb.scale`]),
  ];
}

/** The values of the buffer `name`, rounded where the library rounds: [dim] for a norm, [dimHead / 2] for positions. */
export function bufferValues(name: string, { dim, dimHead }: { dim: number; dimHead: number }): Float32Array {
  if (isNormBias(name)) return new Float32Array(dim);
  const places = Float32Array.from({ length: dimHead / 2 }, (_, i) => 2 * i);
  return name.endsWith('inv_freq')
    ? places.map((place) => 1 / Math.fround(10000 ** Math.fround(place / dimHead)))
    : places.map((place) => Math.fround(place + 0.4 * dimHead) / Math.fround(1.4 * dimHead));
}
