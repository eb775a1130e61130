/** Keys of config.json that change nothing that a decoder computes, and others that may only say one thing. */

/** Keys of every family that say nothing of the arithmetic: names, tokens, training, generation. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...['model_type', 'architectures', 'transformers_version', 'torch_dtype', 'dtype', 'auto_map', 'tokenizer_class'],
  ...['use_cache', 'cache_implementation', 'initializer_range', 'init_std', 'pretraining_tp', 'gradient_checkpointing'],
  ...['return_dict', 'output_attentions', 'output_hidden_states', 'output_scores', 'return_dict_in_generate'],
  ...['torchscript', 'use_bfloat16', 'chunk_size_feed_forward', 'is_decoder', 'tf_legacy_loss', 'finetuning_task'],
  ...['id2label', 'label2id', 'num_labels', 'problem_type', 'task_specific_params', 'prefix', 'quantization_config'],
  ...['max_length', 'min_length', 'max_new_tokens', 'do_sample', 'early_stopping', 'num_beams', 'num_beam_groups'],
  ...['temperature', 'top_k', 'top_p', 'typical_p', 'repetition_penalty', 'length_penalty', 'diversity_penalty'],
  ...['no_repeat_ngram_size', 'encoder_no_repeat_ngram_size', 'bad_words_ids', 'num_return_sequences'],
  ...['remove_invalid_values', 'exponential_decay_length_penalty', 'suppress_tokens', 'begin_suppress_tokens'],
  ...['layerdrop', 'gradient_checkpointing', 'transformers.js_config', 'unsloth_fixed', 'unsloth_version'],
]);
const HARMLESS_FORM = /^_|_token_ids?$|dropout|_pdrop$|^summary_/;

/** Keys that change the arithmetic, with the values for which they do not. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  is_encoder_decoder: [false],
  add_cross_attention: [false],
  tie_encoder_decoder: [false],
  cross_attention_hidden_size: [null],
  pruned_heads: [{}],
  use_bidirectional_attention: [false, null],
};

/** What a family knows of keys beyond those of all. */
export interface KnownKeys {
  harmless?: readonly string[];
  fixed?: Readonly<Record<string, readonly unknown[]>>;
}

/** Whether `key` with this value changes nothing. */
export function isHarmless(key: string, value: unknown, { harmless = [], fixed = {} }: KnownKeys): boolean {
  const allowed = [fixed, FIXED].find((all) => Object.hasOwn(all, key))?.[key];
  if (allowed !== undefined) return allowed.some((one) => JSON.stringify(one) === JSON.stringify(value));
  return HARMLESS.has(key) || HARMLESS_FORM.test(key) || harmless.includes(key);
}
