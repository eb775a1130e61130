/** Phi 3, 3.5 and 4 (Abdin et al. 2024): Llama whose queries, keys and values, and gate and up, are one matrix each. */
import * as z from 'zod';
import { epsilon, window } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { headWidth, LLAMA_NAMES, llamaKeys, llamaLike, windowed } from './llama-like.ts';
import { ropeOf } from './rope.ts';
import type { RopeParameters } from './rope-parameters.ts';
import type { StoredNames } from './stored-names.ts';

const NAMES: StoredNames = {
  ...LLAMA_NAMES,
  linears: {
    'self_attn.qkv_proj': ['query', 'key', 'value'],
    'self_attn.o_proj': ['output'],
    'mlp.gate_up_proj': ['gate', 'up'],
    'mlp.down_proj': ['down'],
  },
};

/** What the files call "su" or "yarn" is longrope. */
function renamed<Given extends RopeParameters | null | undefined>(given: Given): Given {
  const kind = given?.rope_type ?? given?.type;
  return kind === 'su' || kind === 'yarn' ? { ...given, rope_type: 'longrope' } : given;
}

export const phi3 = hfFamily({
  modelTypes: ['phi3'],
  prefixes: ['model.', ''],
  loraTargets: ['qkv_proj'],
  names: NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 32_064, dim: 3072, ff: 8192, depth: 32, heads: 32 }),
    rms_norm_eps: epsilon(1e-5),
    sliding_window: window(null),
  }),
  fixed: {
    attention_bias: [false],
    mlp_bias: [false],
    lm_head_bias: [false],
    full_attn_mod: [1],
    interpolate_factor: [1],
  },
  describe: (config, longest) => {
    const { rope_scaling: scaling, rope_parameters: given, original_max_position_embeddings: original } = config;
    const rope = { ...config, rope_scaling: renamed(scaling), rope_parameters: renamed(given) };
    return llamaLike(config, {
      ropes: [
        ropeOf(
          { ...rope, original_max_position_embeddings: original ?? 4096 },
          { dimHead: headWidth(config), theta: 10_000, longest },
        ),
      ],
      layers: windowed(config, config.sliding_window),
    });
  },
});
