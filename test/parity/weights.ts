/** Models with chosen weights: what a state_dict of the Python library would hold for a size, filled by formula or by lot. */
import { PaLM } from '../../src/models/palm.ts';
import { RewardModel } from '../../src/models/reward-model.ts';
import { device } from '../device.ts';
import { asFile, type RecordedTensors } from './numbers.ts';

export interface Size {
  numTokens: number;
  dim: number;
  depth: number;
  heads: number;
  dimHead: number;
  ffMult: number;
  qkRmsnorm?: boolean;
}
type Shapes = Record<string, number[]>;

/** The parameters of a language model, with those of its scopes (name to rank). */
export function palmShapes(size: Size, scopes: Record<string, number> = {}): Shapes {
  const { numTokens, dim, depth, heads, dimHead, ffMult, qkRmsnorm } = size;
  const shapes: Shapes = { 'token_emb.weight': [numTokens, dim], 'norm.gamma': [dim] };
  for (let layer = 0; layer < depth; layer++) {
    const block = `layers.${layer}.fn`;
    shapes[`${block}.norm.gamma`] = [dim];
    shapes[`${block}.fused_attn_ff_proj.weight`] = [(heads + 2) * dimHead + 2 * dim * ffMult, dim];
    shapes[`${block}.attn_out.weight`] = [dim, heads * dimHead];
    shapes[`${block}.ff_out.2.weight`] = [dim, dim * ffMult];
    if (qkRmsnorm) Object.assign(shapes, { [`${block}.q_scale`]: [dimHead], [`${block}.k_scale`]: [dimHead] });
    for (const [scope, rank] of Object.entries(scopes)) {
      const inner = heads * dimHead;
      const ends = [
        [dim, inner],
        [dim, dimHead],
        [dim, dimHead],
        [inner, dim],
      ] as [number, number][];
      for (const [place, [from, to]] of ends.entries()) {
        shapes[`finetune_modules.${scope}.${layer}.${place}.A`] = [from, rank];
        shapes[`finetune_modules.${scope}.${layer}.${place}.B`] = [rank, to];
      }
    }
  }
  return shapes;
}

/** The parameters of a reward model: a trunk with the scope `reward` of that rank, unless it is 0, and a scalar head. */
export function rewardShapes(size: Size, rank: number): Shapes {
  const trunk = Object.entries(palmShapes(size, rank > 0 ? { reward: rank } : {}));
  return {
    ...Object.fromEntries(trunk.map(([name, shape]) => [`palm.${name}`, shape])),
    prompt_embed: [1, 1, size.dim],
    response_embed: [1, 1, size.dim],
    'to_pred.0.weight': [1, size.dim],
  };
}

/** Parameter k in the order of names has 0.3 sin(0.37 j + 1.3 k) as its element j. */
export function sine(shapes: Shapes): RecordedTensors {
  return fill(shapes, (j, k) => 0.3 * Math.sin(0.37 * j + 1.3 * k));
}

/** Normal numbers from a seed, scaled so that every parameter matters and nothing saturates. */
export function drawn(shapes: Shapes, seed: number): RecordedTensors {
  const normal = normals(seed);
  return fill(
    shapes,
    (_j, _k, shape) => normal() * (shape.length === 1 ? 0.3 : 0.7 / Math.sqrt(shape.at(-1) as number)),
  );
}

function fill(shapes: Shapes, element: (j: number, k: number, shape: number[]) => number): RecordedTensors {
  const names = Object.keys(shapes).sort();
  return new Map(
    names.map((name, k) => {
      const shape = shapes[name] as number[];
      const data = new Float64Array(shape.reduce((a, b) => a * b, 1)).map((_, j) => element(j, k, shape));
      return [name, { dtype: 'F64', shape, data }];
    }),
  );
}

/** Uniform numbers in [0, 1): mulberry32. */
export function uniforms(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers, by Box and Muller. */
export function normals(seed: number): () => number {
  const uniform = uniforms(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** `length` ids of 1 ... numTokens − 1. */
export function ids(length: number, numTokens: number, seed: number): number[] {
  const uniform = uniforms(seed);
  return Array.from({ length }, () => 1 + Math.floor(uniform() * (numTokens - 1)));
}

type PalmOptions = NonNullable<NonNullable<Parameters<typeof PaLM.load>[1]>['options']>;
type RewardOptions = NonNullable<NonNullable<Parameters<typeof RewardModel.load>[1]>['options']>;

/** A language model with these weights. */
export function palmOf(weights: RecordedTensors, options: PalmOptions): Promise<PaLM> {
  return asFile(weights, (path) => PaLM.load(path, { options, device }));
}

/** A reward model with these weights. */
export function rewardModelOf(weights: RecordedTensors, options: RewardOptions): Promise<RewardModel> {
  return asFile(weights, (path) => RewardModel.load(path, { options, device }));
}
