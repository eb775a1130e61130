/** The architectures of GGUF files that are read, by the name that the files use; each is a table. */
import type { Architecture, ArchitectureKeys, HfConfig } from './architecture.ts';
import { llama3Scaling } from './rope-factors.ts';

/** Sizes and positions of all that followed Llama. */
function sizes(keys: ArchitectureKeys): HfConfig {
  return {
    hidden_size: keys.count('embedding_length'),
    intermediate_size: keys.count('feed_forward_length'),
    num_hidden_layers: keys.count('block_count'),
    num_attention_heads: keys.count('attention.head_count'),
    num_key_value_heads: keys.findCount('attention.head_count_kv') ?? keys.count('attention.head_count'),
    head_dim: keys.headWidth(),
    max_position_embeddings: keys.count('context_length'),
    rope_theta: keys.findNumber('rope.freq_base') ?? 10_000,
    ...ropeScaling(keys),
  };
}

/** The same where config.json has no key for the width of a head: the heads share the width of the model evenly. */
function evenSizes(keys: ArchitectureKeys): HfConfig {
  const { head_dim: width, ...rest } = sizes(keys);
  if (width === keys.count('embedding_length') / keys.count('attention.head_count')) return rest;
  throw keys.refused('attention.key_length', `heads of ${width}`);
}

const rmsNorm = (keys: ArchitectureKeys) => ({ rms_norm_eps: keys.number('attention.layer_norm_rms_epsilon') });

/** The share of a head that turns; undefined where all of it does. */
function partialRotary(keys: ArchitectureKeys): HfConfig {
  const width = keys.headWidth();
  const turning = keys.findCount('rope.dimension_count') ?? width;
  return turning === width ? {} : { partial_rotary_factor: turning / width };
}

/** @throws GgufError unless all of a head turns. */
function wholeRotary(keys: ArchitectureKeys): HfConfig {
  const turning = keys.findCount('rope.dimension_count') ?? keys.headWidth();
  if (turning === keys.headWidth()) return {};
  throw keys.refused('rope.dimension_count', `${turning} of ${keys.headWidth()} dimensions`);
}

function ropeScaling(keys: ArchitectureKeys): HfConfig {
  const type = keys.findText('rope.scaling.type') ?? 'none';
  const [factor, original] = [
    keys.findNumber('rope.scaling.factor'),
    keys.findCount('rope.scaling.original_context_length'),
  ];
  if (type === 'none') return factor === undefined ? {} : { rope_scaling: { rope_type: 'linear', factor } };
  if (type === 'linear') return { rope_scaling: { rope_type: 'linear', factor } };
  if (type !== 'yarn') throw keys.refused('rope.scaling.type', `"${type}"`);
  return { rope_scaling: { rope_type: 'yarn', factor, original_max_position_embeddings: original } };
}

/** A window, if the file has one. */
function slidingWindow(keys: ArchitectureKeys): HfConfig {
  const window = keys.findCount('attention.sliding_window');
  return window === undefined || window === 0 ? {} : { sliding_window: window };
}

const OUTER = { token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head' };
const ATTENTION = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
};
const HEAD_NORMS = { attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm' };
const GATED = { ffn_gate: 'mlp.gate_proj', ffn_up: 'mlp.up_proj', ffn_down: 'mlp.down_proj' };
const LLAMA_LIKE = {
  outer: OUTER,
  layers: 'model.layers.',
  layer: { ...ATTENTION, ffn_norm: 'post_attention_layernorm', ...GATED },
};
const SANDWICH = {
  ...LLAMA_LIKE,
  layer: {
    ...ATTENTION,
    post_attention_norm: 'post_attention_layernorm',
    ffn_norm: 'pre_feedforward_layernorm',
    post_ffw_norm: 'post_feedforward_layernorm',
    ...GATED,
  },
};

/** The scale of Gemma's queries, which files do not say: of the head's width but for the largest models. */
function queryScale(keys: ArchitectureKeys, largest: number): HfConfig {
  const isLargest = keys.count('block_count') === largest;
  const perHead = keys.count('embedding_length') / keys.count('attention.head_count');
  return { query_pre_attn_scalar: isLargest ? perHead : keys.headWidth() };
}

const llama: Architecture = {
  ...LLAMA_LIKE,
  modelType: 'llama',
  className: 'LlamaForCausalLM',
  paired: { attn_q: 'heads', attn_k: 'keyHeads' },
  config: (keys) => {
    if ((keys.findCount('expert_count') ?? 0) > 0) throw keys.refused('expert_count', 'a mixture of experts');
    keys.findCount('expert_used_count');
    keys.findCount('vocab_size');
    const bias = { attention_bias: keys.has('blk.0.attn_q.bias'), mlp_bias: keys.has('blk.0.ffn_up.bias') };
    return { ...sizes(keys), ...rmsNorm(keys), ...wholeRotary(keys), ...bias, ...llama3Scaling(keys) };
  },
};

const qwen2: Architecture = {
  ...LLAMA_LIKE,
  modelType: 'qwen2',
  className: 'Qwen2ForCausalLM',
  config: (keys) => ({ ...evenSizes(keys), ...rmsNorm(keys), ...wholeRotary(keys), use_sliding_window: false }),
};

const qwen3: Architecture = {
  ...LLAMA_LIKE,
  layer: { ...LLAMA_LIKE.layer, ...HEAD_NORMS },
  modelType: 'qwen3',
  className: 'Qwen3ForCausalLM',
  config: (keys) => ({ ...sizes(keys), ...rmsNorm(keys), ...wholeRotary(keys), use_sliding_window: false }),
};

const gemma: Architecture = {
  ...LLAMA_LIKE,
  modelType: 'gemma',
  className: 'GemmaForCausalLM',
  normsPlusOne: true,
  config: (keys) => ({ ...sizes(keys), ...rmsNorm(keys), ...wholeRotary(keys) }),
};

const gemma2: Architecture = {
  ...SANDWICH,
  modelType: 'gemma2',
  className: 'Gemma2ForCausalLM',
  normsPlusOne: true,
  config: (keys) => ({
    ...{ ...sizes(keys), ...rmsNorm(keys), ...wholeRotary(keys), ...queryScale(keys, 46) },
    sliding_window: keys.count('attention.sliding_window'),
    attn_logit_softcapping: keys.findNumber('attn_logit_softcapping') ?? 50,
    final_logit_softcapping: keys.findNumber('final_logit_softcapping') ?? 30,
  }),
};

const gemma3: Architecture = {
  ...SANDWICH,
  layer: { ...SANDWICH.layer, ...HEAD_NORMS },
  modelType: 'gemma3_text',
  className: 'Gemma3ForCausalLM',
  normsPlusOne: true,
  config: (keys) => ({
    ...{ ...sizes(keys), ...rmsNorm(keys), ...wholeRotary(keys), ...queryScale(keys, 62) },
    rope_theta: keys.findNumber('rope.freq_base') ?? 1_000_000,
    rope_local_base_freq: keys.findNumber('rope.freq_base_swa') ?? 10_000,
    sliding_window: keys.count('attention.sliding_window'),
    sliding_window_pattern: keys.findCount('attention.sliding_window_pattern') ?? 6,
  }),
};

const gpt2: Architecture = {
  modelType: 'gpt2',
  className: 'GPT2LMHeadModel',
  outer: {
    token_embd: 'transformer.wte',
    position_embd: 'transformer.wpe',
    output_norm: 'transformer.ln_f',
    output: 'lm_head',
  },
  layers: 'transformer.h.',
  layer: {
    attn_norm: 'ln_1',
    attn_qkv: 'attn.c_attn',
    attn_output: 'attn.c_proj',
    ffn_norm: 'ln_2',
    ffn_up: 'mlp.c_fc',
    ffn_down: 'mlp.c_proj',
  },
  transposed: ['attn_qkv', 'attn_output', 'ffn_up', 'ffn_down'],
  config: (keys) => ({
    n_embd: keys.count('embedding_length'),
    n_layer: keys.count('block_count'),
    n_head: keys.count('attention.head_count'),
    n_positions: keys.count('context_length'),
    n_inner: keys.count('feed_forward_length'),
    layer_norm_epsilon: keys.number('attention.layer_norm_epsilon'),
  }),
};

const phi3: Architecture = {
  ...LLAMA_LIKE,
  layer: {
    attn_norm: 'input_layernorm',
    attn_qkv: 'self_attn.qkv_proj',
    attn_output: 'self_attn.o_proj',
    ffn_norm: 'post_attention_layernorm',
    ffn_up: 'mlp.gate_up_proj',
    ffn_down: 'mlp.down_proj',
  },
  modelType: 'phi3',
  className: 'Phi3ForCausalLM',
  config: (keys) => {
    const original = keys.findCount('rope.scaling.original_context_length');
    const more = original === undefined ? {} : { original_max_position_embeddings: original };
    return { ...evenSizes(keys), ...rmsNorm(keys), ...partialRotary(keys), ...slidingWindow(keys), ...more };
  },
};

const starcoder2: Architecture = {
  ...LLAMA_LIKE,
  layer: { ...ATTENTION, ffn_norm: 'post_attention_layernorm', ffn_up: 'mlp.c_fc', ffn_down: 'mlp.c_proj' },
  modelType: 'starcoder2',
  className: 'Starcoder2ForCausalLM',
  config: (keys) => {
    const norm = { norm_epsilon: keys.number('attention.layer_norm_epsilon') };
    return {
      ...evenSizes(keys),
      ...norm,
      ...wholeRotary(keys),
      ...slidingWindow(keys),
      use_bias: keys.has('blk.0.attn_q.bias'),
    };
  },
};

const stablelm: Architecture = {
  ...LLAMA_LIKE,
  modelType: 'stablelm',
  className: 'StableLmForCausalLM',
  config: (keys) => {
    keys.findFlag('use_parallel_residual');
    return {
      ...{ ...evenSizes(keys), ...partialRotary(keys) },
      layer_norm_eps: keys.number('attention.layer_norm_epsilon'),
      use_qkv_bias: keys.has('blk.0.attn_q.bias'),
      use_parallel_residual: !keys.has('blk.0.ffn_norm.weight'),
    };
  },
};

/** The tables by `general.architecture`. */
export const ARCHITECTURES: ReadonlyMap<string, Architecture> = new Map(
  Object.entries({ llama, qwen2, qwen3, gemma, gemma2, gemma3, gpt2, phi3, starcoder2, stablelm }),
);
