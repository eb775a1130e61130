#include "model/decoder.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>

#include "base/error.h"
#include "kernels/dispatch.h"
#include "kernels/layer-norm.h"
#include "kernels/linear.h"
#include "kernels/rotary.h"
#include "kernels/swiglu.h"
#include "model/attention.h"
#include "model/fast/fused-block.h"
#include "model/fast/graph-decode-step.h"
#include "model/fast/packed-decode-step.h"
#include "model/init.h"
#include "model/kv-cache.h"
#include "model/lora.h"
#include "model/segments.h"

namespace palm {

// --- forward: embed → blocks → norm ----------------------------------------------------------------------------------

// Per-forward-pass state shared by all layers.
struct ForwardState {
  Rotary rotary;
  Tensor visible;   // [B or 1, T, 1, S] bool, or undefined
  Tensor segments;  // [B, T], or undefined
  KvCache* cache;
  Dropout dropout;
};

// q / ‖q‖ · scale over the head width.
static Tensor l2_norm(const Tensor& x, const Tensor& scale) {
  const Tensor wide_scale = widened(scale), wide = x.to(wide_scale.scalar_type());
  const Tensor norm = at::linalg_vector_norm(wide, 2, at::IntArrayRef{-1}, /*keepdim=*/true);
  return (wide / norm.clamp_min(1e-12) * wide_scale).to(x.scalar_type());
}

// One parallel block: x ← x + [attention(h) | swiglu(h)] · outputᵀ with h = layer_norm(x), in plain operations
// differentiated by autograd: the reference for everything in fast/.
static Tensor parallel_block(const Tensor& x, const Block& block, const DecoderDescription& decoder,
                             const LayerAdapters& adapters, int64_t layer, const ForwardState& state) {
  const Tensor h = layer_norm(x, block.norm);                      // [B, T, D]
  const Tensor projected = trained_linear(h, block.input);         // [B, T, HK + 2 KvK + 2F]
  Tensor attended = projected.narrow(-1, 0, decoder.qkv_width());  // [B, T, HK + 2 KvK]
  if (const Tensor added = adapters.added(h, 0, decoder.qkv_width()); added.defined()) attended = attended + added;

  const auto heads = [&](int64_t first, int64_t count) {
    return attended.narrow(-1, first * decoder.dim_head, count * decoder.dim_head)
        .unflatten(-1, {count, decoder.dim_head});
  };
  Tensor query = heads(0, decoder.heads);                                    // [B, T, H, K]
  Tensor key = heads(decoder.heads, decoder.kv_heads);                       // [B, T, Kv, K]
  Tensor value = heads(decoder.heads + decoder.kv_heads, decoder.kv_heads);  // [B, T, Kv, K]
  if (decoder.qk_norm) {
    query = l2_norm(query, block.query_scale);
    key = l2_norm(key, block.key_scale);
  }
  query = rotate_query(query, state.rotary);
  key = rotate_key(key, state.rotary).transpose(1, 2);
  value = value.transpose(1, 2);
  if (state.cache) {
    const auto stored = state.cache->append(layer, key, value);
    key = stored.key;
    value = stored.value;
  }
  const Tensor attention_out = attention(query, key, value, state.visible, decoder.qk_scale, state.dropout);
  const Tensor ff_out = state.dropout.apply(swiglu(projected.narrow(-1, decoder.qkv_width(), 2 * decoder.ff)),
                                            state.dropout.feed_forward);
  Tensor y = x + trained_linear(at::cat({attention_out, ff_out}, -1), block.output);  // [B, T, D]
  for (const Adapter& adapter : adapters.output)                                      // all on the attention columns
    y = y + adapter(attention_out.narrow(-1, adapter.first, adapter.count));
  return y;
}

// [1, T, 1, T] lower triangle, or [B, 1, 1, T] real tokens if the model is not causal.
static Tensor visible_in_row(const DecoderDescription& decoder, const Tensor& tokens) {
  if (!decoder.causal) return tokens.ge(0).unsqueeze(1).unsqueeze(1);
  const Tensor time = at::arange(tokens.size(1), tokens.options());
  return time.unsqueeze(0).le(time.unsqueeze(1)).view({1, tokens.size(1), 1, tokens.size(1)});
}

static Tensor visible_without_cache(const DecoderDescription& decoder, const Tensor& tokens, const Tensor& segments) {
  const Tensor visible = visible_in_row(decoder, tokens);
  return segments.defined() ? within_sequence(visible, segments) : visible;
}

// The fused kernels if they support this forward pass, otherwise nullptr (plain block).
const Kernels* Decoder::select_kernels(const ForwardState& state, const Tensor& x) const {
  if (!description().causal || !FusedBlock::supports(description()) || state.dropout.generator) return nullptr;
  if (state.cache && !state.cache->empty()) return nullptr;
  const Kernels* const kernels = kernels_for(x);
  return kernels && state.segments.defined() && !kernels->attention ? nullptr : kernels;
}

static Block detached_unless_trained(Gradients gradients, const Block& block) {
  const auto prepared = [&](const Tensor& weight) { return detached_unless_trained(gradients, weight); };
  return {.norm = prepared(block.norm),
          .input = prepared(block.input),
          .output = prepared(block.output),
          .query_scale = prepared(block.query_scale),
          .key_scale = prepared(block.key_scale)};
}

Tensor Decoder::hidden(const Tensor& tokens, const ForwardOptions& options) {
  const DecoderDescription& decoder = description();
  KvCache* const cache = options.cache;
  const bool continues_cache = cache && !cache->empty();
  const int64_t time = tokens.size(1);
  const Tensor positions = continues_cache ? cache->positions(time) : at::arange(time, tokens.options());
  if (decoder.xpos_scale_base && !cache) expect_within_reach(time, "tokens", *decoder.xpos_scale_base);
  const Rotary rotary = rotary_table(positions, decoder.dim_head, decoder.xpos_scale_base);
  ForwardState state{.rotary = rotary.to(decoder.dtype == at::kDouble ? at::kDouble : at::kFloat),
                     .visible = {},
                     .segments = options.segments,
                     .cache = cache,
                     .dropout = options.dropout.value_or(dropout_)};

  Tensor x =
      trained_embedding(detached_unless_trained(options.gradients, weights_.token_embedding()), tokens.clamp_min(0));
  if (options.extra_embedding.defined()) x = x + options.extra_embedding;
  const Kernels* const kernels = select_kernels(state, x);
  if (!kernels)
    state.visible = continues_cache ? cache->visible(time) : visible_without_cache(decoder, tokens, options.segments);
  const RotaryTables tables = kernels ? fold_scales(rotary, decoder.qk_scale) : RotaryTables{};
  const Tensor starts = kernels && options.segments.defined() ? sequence_start(options.segments) : Tensor();
  for (int64_t layer = 0; layer < decoder.depth; ++layer) {
    const LayerAdapters adapters = options.scope ? options.scope->layer(layer) : LayerAdapters{};
    const Block block = detached_unless_trained(options.gradients, weights_.blocks()[layer]);
    x = kernels ? FusedBlock{.kernels = *kernels,
                             .decoder = decoder,
                             .block = block,
                             .adapters = adapters,
                             .rotary = tables,
                             .sequence_start = starts,
                             .cache = cache,
                             .layer = layer}(x)
                : parallel_block(x, block, decoder, adapters, layer, state);
  }
  return layer_norm(x, detached_unless_trained(options.gradients, weights_.norm()));
}

Head Decoder::head(Gradients gradients) const {
  return Head(detached_unless_trained(gradients, weights_.token_embedding()));
}

ModelShape Decoder::shape() const {
  const DecoderDescription& decoder = description();
  return {.num_tokens = decoder.num_tokens,
          .dim = decoder.dim,
          .depth = decoder.depth,
          .causal = decoder.causal,
          .ignore_index = decoder.ignore_index,
          .options = at::TensorOptions(decoder.dtype).device(decoder.device)};
}

Tensor Decoder::site_weight(int64_t layer, const AdapterSite& site) const {
  const Block& block = weights_.blocks()[layer];
  return site.matrix == AdapterSite::Matrix::input ? block.input.detach().narrow(0, site.first, site.count)
                                                   : block.output.detach().narrow(1, site.first, site.count);
}

// --- modes -----------------------------------------------------------------------------------------------------------

void Decoder::train(bool on, int64_t seed) {
  dropout_ = {.attention = description().attn_dropout, .feed_forward = description().ff_dropout, .generator = {}};
  if (on) dropout_.generator = make_generator(description().device, seed);
}

Tensor Decoder::generator_state() const {
  return dropout_.generator ? dropout_.generator->get_state() : at::empty({0}, at::kByte);
}

void Decoder::set_generator_state(const Tensor& state) {
  if (dropout_.generator && state.numel() > 0) dropout_.generator->set_state(state);
}

// --- decoding --------------------------------------------------------------------------------------------------------

KvCache Decoder::make_cache(int64_t batch, int64_t capacity) const {
  const DecoderDescription& decoder = description();
  if (!decoder.causal)
    throw Error(ErrorKind::argument, "causal", "a model with causal: false", "a causal model",
                "A non-causal model can score texts, but not generate them: KV caching requires causal attention.");
  if (decoder.xpos_scale_base) expect_within_reach(capacity, "maxNewTokens", *decoder.xpos_scale_base);
  const KvCache::Sizes sizes{.layers = decoder.depth,
                             .batch = batch,
                             .kv_heads = decoder.kv_heads,
                             .capacity = capacity,
                             .dim_head = decoder.dim_head};
  return KvCache(sizes, shape().options);
}

std::unique_ptr<DecodeStep> Decoder::decode_step(const Scope* scope, const KvCache& cache, int64_t samples, bool int8) {
  const Kernels* const kernels = kernels_for(weights_.token_embedding());
  if (!kernels || training() || !FusedBlock::supports(description())) return nullptr;
  if (GraphDecodeStep::supports(*kernels, description()) && !int8)
    return std::make_unique<GraphDecodeStep>(*kernels, weights_, scope, cache, samples);
  if (!PackedDecodeStep::supports(*kernels, scope)) return nullptr;
  return std::make_unique<PackedDecodeStep>(*kernels, weights_, packed_, scope, cache, samples, int8);
}

}  // namespace palm
