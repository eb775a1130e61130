#include "model/decoder.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <functional>
#include <map>

#include "base/error.h"
#include "kernels/activation.h"
#include "kernels/dispatch.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "model/attention.h"
#include "model/fast/fused-forward.h"
#include "model/fast/graph-reader.h"
#include "model/fast/packed-reader.h"
#include "model/init.h"
#include "model/kv-cache.h"
#include "model/lora.h"
#include "model/plain-reader.h"
#include "model/positions.h"
#include "model/readout.h"
#include "model/segments.h"

namespace palm {

// --- forward: embed → blocks → norm ----------------------------------------------------------------------------------

// What all layers of a forward pass share.
struct ForwardState {
  std::vector<Rotary> rotaries = {};       // one per rope of the description
  std::map<int64_t, Tensor> visible = {};  // by window: [B or 1, T, 1, S] bool
  Tensor alibi = {};                       // [H], or undefined
  Tensor segments = {};                    // [B, T], or undefined
  KvCache* cache = nullptr;
  Dropout dropout = {};
  const TokenAttention* attend = nullptr;  // of a decode step, which has a cache of its own
};

// One block and what its computation needs.
struct PlainBlock {
  const DecoderDescription& decoder;
  const Block& block;
  const LayerAdapters& adapters;
  const ForwardState& state;
  int64_t layer;

  Tensor operator()(const Tensor& x) const;

 private:
  Tensor attend(const Tensor& projected) const;
  Tensor attend_to_rows(Tensor query, Tensor key, Tensor value) const;
  Tensor attention_input(const Tensor& h) const;
  Tensor ff_input(const Tensor& h) const;
  Tensor biased_adapted(const Tensor& product, const Tensor& h, int64_t begin, const Tensor& bias) const;
  Tensor output_of(const Tensor& part, int64_t first, const Tensor& bias) const;
  Tensor with_adapters(Tensor y, const Tensor& part, int64_t first, double scale) const;
  Tensor parallel(const Tensor& x) const;
  Tensor sequential(const Tensor& x) const;
  Tensor feed_forward_of(const Tensor& projected) const;
  Tensor added(const Tensor& x, const Tensor& branch) const;
  Tensor norm_if(bool wanted, const Tensor& x, const Norm& weights) const {
    return wanted ? norm(x, weights, decoder.norm) : x;
  }
};

// Adds bias and adapters to the product of h with the rows of `input` from `begin` on.
Tensor PlainBlock::biased_adapted(const Tensor& product, const Tensor& h, int64_t begin, const Tensor& bias) const {
  const Tensor y = add_bias(product, bias);
  const Tensor more = adapters.added(h, begin, begin + y.size(-1), state.dropout);
  return more.defined() ? y + more : y;
}

Tensor PlainBlock::attention_input(const Tensor& h) const {
  return biased_adapted(trained_rows(h, block.input, 0, decoder.qkv_width()), h, 0, block.qkv_bias);
}

Tensor PlainBlock::ff_input(const Tensor& h) const {
  const int64_t first = decoder.qkv_width();
  return biased_adapted(trained_rows(h, block.input, first, decoder.ff_width()), h, first, block.ff_bias);
}

// Queries and keys [..., H, K] through their norms; one over all heads comes before they are told apart.
static Tensor qk_normed(const Tensor& heads, const Norm& weights, const QkNormDescription& description) {
  if (description.over == QkNormOver::head) return norm(heads, weights, description.norm);
  if (description.over == QkNormOver::all)
    return norm(heads.flatten(-2), weights, description.norm).unflatten(-1, {heads.size(-2), heads.size(-1)});
  const auto by_head = [&](const Tensor& weight) {
    return weight.defined() ? weight.view({heads.size(-2), heads.size(-1)}) : weight;
  };
  return norm(heads, {by_head(weights.weight), by_head(weights.bias)}, description.norm);
}

// projected [B, T, HK + 2 KvK] → [B, T, HK]
Tensor PlainBlock::attend(const Tensor& projected) const {
  const Tensor clipped = decoder.clip_qkv ? projected.clamp(-*decoder.clip_qkv, *decoder.clip_qkv) : projected;
  const auto heads = [&](int64_t first, int64_t count) {
    return clipped.narrow(-1, first * decoder.dim_head, count * decoder.dim_head)
        .unflatten(-1, {count, decoder.dim_head});
  };
  Tensor query = heads(0, decoder.heads);               // [B, T, H, K]
  Tensor key = heads(decoder.heads, decoder.kv_heads);  // [B, T, Kv, K]
  const Tensor value = heads(decoder.heads + decoder.kv_heads, decoder.kv_heads);
  if (decoder.qk_norm) {
    query = qk_normed(query, block.query_norm, *decoder.qk_norm);
    key = qk_normed(key, block.key_norm, *decoder.qk_norm);
  }
  if (!state.attend) return attend_to_rows(query, key, value);
  const auto rows = [](const Tensor& heads) { return heads.flatten(2).squeeze(1); };  // [B, H · K]
  const Tensor out = at::empty({query.size(0), decoder.query_width()}, query.options());
  (*state.attend)(layer, rows(query), rows(key), rows(value), out);
  return out.unsqueeze(1);
}

// query [B, T, H, K], key and value [B, T, Kv, K] → [B, T, HK]
Tensor PlainBlock::attend_to_rows(Tensor query, Tensor key, Tensor value) const {
  const LayerDescription& own = decoder.layer(layer);
  if (own.rope >= 0) {
    query = rotate_query(query, state.rotaries[own.rope]);
    key = rotate_key(key, state.rotaries[own.rope]);
  }
  key = key.transpose(1, 2);
  value = value.transpose(1, 2);
  if (state.cache) {
    const auto stored = state.cache->append(layer, key, value);
    key = stored.key;
    value = stored.value;
  }
  const Scoring scoring{
      .scale = own.scale, .softcap = decoder.softcap, .alibi = state.alibi, .alibi_rounded = decoder.alibi_rounded};
  return attention(query, key, value, state.visible.at(own.window), scoring, state.dropout);
}

Tensor PlainBlock::feed_forward_of(const Tensor& projected) const {
  return state.dropout.apply(feed_forward(projected, decoder.activation, decoder.gated), state.dropout.feed_forward);
}

// Adds scale times the adapters on some inputs of the output projection, which begin with its column `first`.
Tensor PlainBlock::with_adapters(Tensor y, const Tensor& part, int64_t first, double scale) const {
  for (const Adapter& adapter : adapters.output) {
    if (adapter.first < first || adapter.first >= first + part.size(-1)) continue;
    const Tensor more = adapter(part.narrow(-1, adapter.first - first, adapter.count), state.dropout);
    y = y + (scale == 1 ? more : more * scale);
  }
  return y;
}

// The product of these inputs, with bias and adapters.
Tensor PlainBlock::output_of(const Tensor& part, int64_t first, const Tensor& bias) const {
  const Tensor product = trained_columns(part, block.output, first, part.size(-1));
  return with_adapters(add_bias(product, bias), part, first, 1);
}

// x + residual_scale · branch
Tensor PlainBlock::added(const Tensor& x, const Tensor& branch) const {
  return decoder.residual_scale == 1 ? x + branch : x + branch * decoder.residual_scale;
}

// x + [attention(h) | feed-forward(h or another norm of x)] · outputᵀ
Tensor PlainBlock::parallel(const Tensor& x) const {
  const Tensor h = norm(x, block.norm, decoder.norm);
  Tensor attended, fed;
  if (decoder.shared_norm) {
    const Tensor projected = trained_linear(h, block.input);
    const int64_t width = decoder.qkv_width();
    attended = attend(biased_adapted(projected.narrow(-1, 0, width), h, 0, block.qkv_bias));
    fed = feed_forward_of(biased_adapted(projected.narrow(-1, width, decoder.ff_width()), h, width, block.ff_bias));
  } else {
    attended = attend(attention_input(h));
    fed = feed_forward_of(ff_input(norm(x, block.ff_norm, decoder.norm)));
  }
  const Tensor both = at::cat({attended, fed}, -1);
  const Tensor branches =
      add_bias(add_bias(trained_linear(both, block.output), block.output_bias), block.ff_output_bias);
  return with_adapters(added(x, branches), both, 0, decoder.residual_scale);
}

Tensor PlainBlock::sequential(const Tensor& x) const {
  const bool before = decoder.norm_before(), of_output = decoder.norm_of_output(),
             after = decoder.form == BlockForm::after;
  const Tensor h = norm_if(before, x, block.norm);
  const Tensor attended = output_of(attend(attention_input(h)), 0, block.output_bias);
  Tensor y = added(decoder.residual_from_norm ? h : x, norm_if(of_output, attended, block.attention_out_norm));
  y = norm_if(after, y, block.norm);
  const Tensor g = norm_if(before, y, block.ff_norm);
  const Tensor fed = output_of(feed_forward_of(ff_input(g)), decoder.query_width(), block.ff_output_bias);
  y = added(decoder.residual_from_norm ? g : y, norm_if(of_output, fed, block.ff_out_norm));
  return norm_if(after, y, block.ff_norm);
}

// A block in plain operations differentiated by autograd: the reference for everything in fast/.
Tensor PlainBlock::operator()(const Tensor& x) const { return decoder.parallel ? parallel(x) : sequential(x); }

Fallbacks Decoder::fallbacks(const DecoderDescription& description) {
  check(description);
  if (description.dtype == at::kDouble) return {"float64", "float64"};
  const Kernels* const kernels = kernels_for(description.device, description.dtype);
  if (!kernels) return {"no kernels for this device", "no kernels for this device"};
  const auto words = [](const char* feature) {
    return feature ? std::optional<std::string>(feature) : std::optional<std::string>();
  };
  return {words(FusedForward::unsupported(description)),
          words(kernels->decode_attention ? GraphReader::unsupported(description)
                                          : PackedReader::unsupported(description))};
}

static bool has_fused_blocks(const DecoderDescription& decoder, const Scope* scope) {
  return !FusedForward::unsupported(decoder) && FusedForward::supports(decoder, scope);
}

// The fused kernels if they support this forward pass, otherwise nullptr (plain block).
const Kernels* Decoder::select_kernels(const ForwardState& state, const Scope* scope, const Tensor& x) const {
  const DecoderDescription& decoder = description();
  if (state.dropout.generator || (state.cache && !state.cache->empty())) return nullptr;
  if (!has_fused_blocks(decoder, scope)) return nullptr;
  const Kernels* const kernels = kernels_for(x);
  return kernels && FusedForward::supports(*kernels, decoder, state.segments.defined()) ? kernels : nullptr;
}

// Adds what plain blocks need: tables of positions, and which keys are visible.
static void add_tables(ForwardState& state, const DecoderDescription& decoder, const Tensor& tokens,
                       const Tensor& positions) {
  const at::ScalarType precise = decoder.dtype == at::kDouble ? at::kDouble : at::kFloat;
  for (const RopeDescription& rope : decoder.ropes) state.rotaries.push_back(rotary_table(positions, rope).to(precise));
  const bool continues_cache = state.cache && !state.cache->empty();
  for (const LayerDescription& layer : decoder.layers)
    if (!state.visible.contains(layer.window))
      state.visible[layer.window] = continues_cache
                                        ? state.cache->visible(tokens.size(1), layer.window)
                                        : visible_in_rows(tokens, state.segments, decoder.causal, layer.window);
  if (!decoder.alibi.empty())
    state.alibi = at::tensor(decoder.alibi, at::TensorOptions(precise).device(tokens.device()));
}

// Embeddings [B, T, D] of tokens at `positions` [T] or [B, T] of their rows.
Tensor Decoder::embed(const Tensor& tokens, const Tensor& positions, const ForwardOptions& options) const {
  const DecoderDescription& decoder = description();
  const OuterWeights& outer = weights_.outer();
  const auto prepared = [&](const Tensor& weight) { return detached_unless_trained(options.gradients, weight); };
  Tensor x = trained_embedding(prepared(outer.token_embedding), tokens);
  if (decoder.embedding_scale != 1) x = x * decoder.embedding_scale;
  if (decoder.narrow_embedding()) x = trained_linear(x, prepared(outer.embedding_in));
  if (decoder.positions) {
    const Tensor time = options.segments.defined() ? positions - sequence_start(options.segments) : positions;
    x = x + trained_embedding(prepared(outer.position_embedding), time + decoder.positions->offset);
  }
  if (decoder.embedding_norm)
    x = norm(x, detached_unless_trained(options.gradients, outer.embedding_norm), decoder.norm);
  return options.extra_embedding.defined() ? x + options.extra_embedding : x;
}

// x [B, T, D] through the blocks that the options ask for: fused or, without `fused`, plain ones.
Tensor Decoder::through_blocks(Tensor x, const ForwardState& state, const FusedForward* fused,
                               const ForwardOptions& options) const {
  const DecoderDescription& decoder = description();
  for (int64_t layer = options.from.layer; layer < options.until.value_or(decoder.depth); ++layer) {
    const LayerAdapters adapters = options.scope ? options.scope->layer(layer) : LayerAdapters{};
    const Block block = detached_unless_trained(options.gradients, weights_.blocks()[layer]);
    x = fused ? fused->block(layer, {block, adapters}, x) : PlainBlock{decoder, block, adapters, state, layer}(x);
  }
  return x;
}

Tensor Decoder::hidden(const Tensor& tokens, const ForwardOptions& options) {
  const DecoderDescription& decoder = description();
  KvCache* const cache = options.cache;
  const bool continues_cache = cache && !cache->empty();
  const int64_t time = tokens.size(1);
  const Tensor positions = continues_cache ? cache->positions(time) : at::arange(time, tokens.options());
  if (!cache) expect_positions(decoder, time, "tokens");
  ForwardState state{.segments = options.segments, .cache = cache, .dropout = options.dropout.value_or(dropout_)};

  Tensor x = options.from.states.defined() ? options.from.states : embed(tokens.clamp_min(0), positions, options);
  const Kernels* const kernels = select_kernels(state, options.scope, x);
  std::optional<FusedForward> fused;
  if (kernels)
    fused.emplace(*kernels, decoder, tokens, positions, options.segments, cache);
  else
    add_tables(state, decoder, tokens, positions);
  x = through_blocks(x, state, fused ? &*fused : nullptr, options);
  if (options.until || !decoder.final_norm) return x;
  return norm(x, detached_unless_trained(options.gradients, weights_.outer().norm), decoder.norm);
}

Head Decoder::head(Gradients gradients) const { return weights_.head(gradients); }

ModelShape Decoder::shape() const {
  const DecoderDescription& decoder = description();
  return {.num_tokens = decoder.used_tokens,
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

void Decoder::expect_reach(int64_t length, const char* argument) const {
  if (!description().causal)
    throw Error(ErrorKind::argument, "causal", "a model with causal: false", "a causal model",
                "A non-causal model can score texts, but not generate them: KV caching requires causal attention.");
  expect_positions(description(), length, argument);
}

static KvCache::Sizes cache_sizes(const DecoderDescription& decoder, int64_t rows, int64_t capacity) {
  return {.layers = decoder.depth,
          .batch = rows,
          .kv_heads = decoder.kv_heads,
          .capacity = capacity,
          .dim_head = decoder.dim_head};
}

KvCache Decoder::make_cache(int64_t batch, int64_t capacity) const {
  expect_reach(capacity, "maxNewTokens");
  return KvCache(cache_sizes(description(), batch, capacity), shape().options);
}

// Logits [B, V] of the next token after tokens [B] at `positions` [B], for a decode step that attends.
Tensor Decoder::next_logits(const Kernels& kernels, const Scope* scope, const Tensor& tokens, const Tensor& positions,
                            const TokenAttention& attend) const {
  const DecoderDescription& decoder = description();
  const ForwardOptions options{.scope = scope, .gradients = Gradients::none};
  const FusedForward fused(kernels, decoder, attend);
  const bool is_fused = has_fused_blocks(decoder, scope);
  Tensor x = embed(tokens.unsqueeze(1), positions.unsqueeze(1), options);
  x = through_blocks(x, {.attend = &attend}, is_fused ? &fused : nullptr, options).squeeze(1);
  const Norm& last = weights_.outer().norm;
  if (decoder.final_norm) x = is_fused ? norm_forward(kernels, x, last, decoder.norm).y : norm(x, last, decoder.norm);
  return head(Gradients::none).logits(x);
}

PackedReader::Embed Decoder::embedder() const {
  return [this](const Tensor& tokens, const Tensor& positions) {
    return embed(tokens, positions, {.gradients = Gradients::none});
  };
}

std::unique_ptr<TokenReader> Decoder::reader_behind(const KvCache& cache, int64_t samples, bool int8) {
  const Kernels* const kernels = kernels_for(weights_.outer().token_embedding);
  if (!kernels || training()) return nullptr;
  if (kernels->decode_attention && !GraphReader::unsupported(description()) && !int8)
    return std::make_unique<GraphReader>(
        *kernels, description(), std::bind_front(&Decoder::next_logits, this, std::cref(*kernels)), cache, samples);
  if (!kernels->token.project || PackedReader::unsupported(description())) return nullptr;
  return std::make_unique<PackedReader>(*kernels, weights_, packed_, embedder(), PackedCache(cache, samples),
                                        cache.lengths().size(0) * samples, int8);
}

constexpr int64_t kPromptsAtOnce = 4;  // prompts of which a piece is read at once

std::unique_ptr<SlotReader> Decoder::slot_reader(int64_t slots, int64_t capacity, bool int8,
                                                 std::shared_ptr<Readout> readout) {
  const Kernels* const kernels = readout ? nullptr : kernels_for(weights_.outer().token_embedding);
  expect_reach(capacity, "capacity");
  const KvCache::Sizes sizes = cache_sizes(description(), slots, capacity);
  if (kernels && kernels->token.project && !training() && !PackedReader::unsupported(description()))
    return std::make_unique<PackedReader>(*kernels, weights_, packed_, embedder(), PackedCache(sizes, shape().options),
                                          slots + kTokenRows * kPromptsAtOnce, int8);
  if (int8) throw int8_unsupported(readout != nullptr);
  return std::make_unique<PlainReader>(*this, slots, capacity, std::move(readout));
}

}  // namespace palm
