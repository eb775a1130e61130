/** GPT BigCode (SantaCoder, StarCoder; Li et al. 2023): GPT-2 whose heads can share one key and value. */
import * as z from 'zod';
import { architecture, layers } from './architecture.ts';
import { activation, flag, width } from './config-fields.ts';
import { ALL_BIASES, GPT_MASKS, GPT_NAMES, GPT_SPELLINGS, gptKeys, gptSizes } from './gpt2.ts';
import { hfFamily } from './hugging-face.ts';

export const gptBigcode = hfFamily({
  modelTypes: ['gpt_bigcode'],
  prefixes: ['transformer.', ''],
  loraTargets: ['c_attn'],
  names: GPT_NAMES,
  ignored: GPT_MASKS,
  schema: z.strictObject({
    ...gptKeys,
    n_positions: width(1024),
    activation_function: activation('gelu_pytorch_tanh'),
    scale_attn_weights: flag(true),
    multi_query: flag(true),
    tie_word_embeddings: flag(true),
  }),
  spellings: GPT_SPELLINGS,
  harmless: [
    ...['n_ctx', 'attention_softmax_in_fp32', 'scale_attention_softmax_in_fp32', 'num_key_value_heads'],
    ...['inference_runner', 'max_batch_size', 'max_sequence_length', 'pad_key_length', 'pre_allocate_kv_cache'],
    ...['runner_max_sequence_length', 'validate_runner_input'],
  ],
  orders: ({ heads, kvHeads, dimHead: width }) =>
    kvHeads === heads ? { 'attn.c_attn': { kind: 'groups', groups: heads, queries: 1, width } } : {},
  describe: (config) => {
    const sizes = gptSizes(config);
    const scale = config.scale_attn_weights ? sizes.dimHead ** -0.5 : 1;
    return architecture({
      ...{ ...sizes, ...ALL_BIASES, activation: config.activation_function, tied: config.tie_word_embeddings },
      kvHeads: config.multi_query ? 1 : sizes.heads,
      positions: { rows: config.n_positions, offset: 0 },
      layers: layers(sizes.depth, () => ({ window: 0, rope: -1, scale })),
    });
  },
});
