/**
 * Maps the tensors of a palm-rlhf-pytorch state_dict to our parameters: each is a whole parameter, or some columns of
 * one.
 */

/** The sizes that the mapping depends on. */
interface PlaceSizes {
  depth: number;
  heads: number;
  dimHead: number;
  /** Width of the feed-forward layer. */
  ff: number;
  /** The norm of queries and keys, if they have scales. */
  qkNorm: object | undefined;
}

/** A tensor of a state_dict and its place in our parameters. */
export interface Place {
  name: string;
  /** The name of our parameter that holds its values. */
  parameter: string;
  /** The part of that parameter. Defaults to all of it. */
  slice?: { dim: number; start: number; length: number };
}

/** The projections that have adapters, in the library's order. */
const ADAPTED = ['query', 'key', 'value', 'output'];

/** Every parameter of a PaLM with these `scopes`, under the library's names; buffers.ts has the buffers. */
export function pythonPlaces(sizes: PlaceSizes, scopes: readonly string[]): Place[] {
  const layers = Array.from({ length: sizes.depth }, (_, layer) => [
    ...blockPlaces(sizes, layer),
    ...scopes.flatMap((scope) => adapterPlaces(scope, layer)),
  ]);
  return [
    { name: 'token_emb.weight', parameter: 'token_embedding' },
    { name: 'norm.gamma', parameter: 'norm' },
    ...layers.flat(),
  ];
}

function blockPlaces({ heads, dimHead, ff, qkNorm }: PlaceSizes, layer: number): Place[] {
  const [name, parameter] = [`layers.${layer}.fn.`, `layers.${layer}.`];
  const attention = heads * dimHead;
  const scales = [
    { name: `${name}q_scale`, parameter: `${parameter}query_scale` },
    { name: `${name}k_scale`, parameter: `${parameter}key_scale` },
  ];
  return [
    { name: `${name}norm.gamma`, parameter: `${parameter}norm` },
    { name: `${name}fused_attn_ff_proj.weight`, parameter: `${parameter}input` },
    { name: `${name}attn_out.weight`, parameter: `${parameter}output`, slice: columns(0, attention) },
    { name: `${name}ff_out.2.weight`, parameter: `${parameter}output`, slice: columns(attention, ff) },
    ...(qkNorm === undefined ? [] : scales),
  ];
}

function adapterPlaces(scope: string, layer: number): Place[] {
  return ADAPTED.flatMap((site, place) => {
    const [name, parameter] = [
      `finetune_modules.${scope}.${layer}.${place}`,
      `scopes.${scope}.layers.${layer}.${site}`,
    ];
    return [
      { name: `${name}.A`, parameter: `${parameter}.a` },
      { name: `${name}.B`, parameter: `${parameter}.b` },
    ];
  });
}

function columns(start: number, length: number) {
  return { dim: 1, start, length };
}
