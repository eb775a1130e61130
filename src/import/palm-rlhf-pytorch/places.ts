/** Where the tensors of a state_dict of palm-rlhf-pytorch lie in our parameters: each is one of them, or columns of one. */

/** What the places depend on. */
interface PlaceSizes {
  depth: number;
  heads: number;
  dimHead: number;
  /** Width of the feed-forward layer. */
  ff: number;
  /** Whether there are scales of queries and keys. */
  qkNorm: boolean;
}

/** A tensor of a state_dict. */
export interface Place {
  name: string;
  /** The name of our parameter that has its numbers. */
  parameter: string;
  /** The part of that; all of it unless given. */
  slice?: { dim: number; start: number; length: number };
}

/** What adapters are on, in the order in which the library counts them. */
const ADAPTED = ['query', 'key', 'value', 'output'];

/** Every parameter of a PaLM with these `scopes`, as the library names it; buffers are not among them, see buffers.ts. */
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
    ...(qkNorm ? scales : []),
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
