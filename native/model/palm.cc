#include "model/palm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/shape.h"
#include "kernels/dispatch.h"
#include "kernels/layer-norm.h"
#include "kernels/linear.h"
#include "kernels/rotary.h"
#include "kernels/swiglu.h"
#include "losses/language.h"
#include "model/attention.h"
#include "model/fast/fused-block.h"
#include "model/fast/graph-token-reader.h"
#include "model/fast/token-reader.h"
#include "model/kv-cache.h"
#include "model/lora.h"
#include "model/segments.h"

namespace palm {

// What every layer of one call shares.
struct Reading {
  Rotary rotary;
  Tensor visible;   // [B or 1, T, 1, S] bool, or undefined
  Tensor segments;  // [B, T], or undefined
  KvCache* cache;
  Dropout dropout;
};

// q / ‖q‖ · scale over the head width; the name comes from the Python library, the norm is l2.
static Tensor rms_norm(const Tensor& x, const Tensor& scale) {
  const Tensor wide_scale = widened(scale), wide = x.to(wide_scale.scalar_type());
  const Tensor norm = at::linalg_vector_norm(wide, 2, at::IntArrayRef{-1}, /*keepdim=*/true);
  return (wide / norm.clamp_min(1e-12) * wide_scale).to(x.scalar_type());
}

static Tensor parallel_block(const Tensor& x, const ParallelBlock& block, const PalmConfig& config,
                             const std::optional<LayerAdapters>& adapters, int64_t layer, const Reading& reading) {
  const int64_t head = config.dim_head, heads = config.heads * head;
  const Tensor h = layer_norm(x, block.norm);                   // [B, T, D]
  const Tensor projected = trained_linear(h, block.input);      // [B, T, HK + 2K + 2F]
  Tensor attended = projected.narrow(-1, 0, heads + 2 * head);  // [B, T, HK + 2K]
  if (adapters) attended = attended + adapters->input(h);

  Tensor query = attended.narrow(-1, 0, heads).unflatten(-1, {config.heads, head});  // [B, T, H, K]
  Tensor key = attended.narrow(-1, heads, head).unsqueeze(-2);                       // [B, T, 1, K]
  Tensor value = attended.narrow(-1, heads + head, head);                            // [B, T, K]
  if (config.qk_rmsnorm) {
    query = rms_norm(query, block.query_scale);
    key = rms_norm(key, block.key_scale);
  }
  query = rotate_query(query, reading.rotary);
  key = rotate_key(key, reading.rotary).squeeze(-2);
  if (reading.cache) {
    const auto stored = reading.cache->append(layer, key, value);
    key = stored.key;
    value = stored.value;
  }
  const Tensor attention_out = attention(query, key, value, reading.visible, config.qk_scale, reading.dropout);
  const Tensor ff_out = reading.dropout.apply(swiglu(projected.narrow(-1, heads + 2 * head, 2 * config.ff())),
                                              reading.dropout.feed_forward);
  Tensor y = x + trained_linear(at::cat({attention_out, ff_out}, -1), block.output);  // [B, T, D]
  if (adapters) y = y + adapters->output(attention_out);
  return y;
}

// [1, T, 1, T] lower triangle, or [B, 1, 1, T] real tokens where every token sees every other.
static Tensor visible_in_row(const PalmConfig& config, const Tensor& tokens) {
  if (!config.causal) return tokens.ge(0).unsqueeze(1).unsqueeze(1);
  const Tensor time = at::arange(tokens.size(1), tokens.options());
  return time.unsqueeze(0).le(time.unsqueeze(1)).view({1, tokens.size(1), 1, tokens.size(1)});
}

static Tensor visible_without_cache(const PalmConfig& config, const Tensor& tokens, const Tensor& segments) {
  const Tensor visible = visible_in_row(config, tokens);
  return segments.defined() ? within_sequence(visible, segments) : visible;
}

// The fused kernels where they know this way of reading; else the plain block does.
const Kernels* PaLM::kernels_to_read(const Reading& reading, const Tensor& x) const {
  if (!config_.causal || config_.qk_rmsnorm || reading.dropout.generator) return nullptr;
  if (reading.cache && !reading.cache->empty()) return nullptr;
  const Kernels* const kernels = kernels_for(x);
  return kernels && reading.segments.defined() && !kernels->attention ? nullptr : kernels;
}

// A weight as a graph for `gradients` sees it.
static Tensor seen_by(Gradients gradients, const Tensor& weight) {
  return gradients == Gradients::adapters && weight.defined() ? weight.detach() : weight;
}

static ParallelBlock seen_by(Gradients gradients, const ParallelBlock& block) {
  const auto seen = [&](const Tensor& weight) { return seen_by(gradients, weight); };
  return {seen(block.norm), seen(block.input), seen(block.output), seen(block.query_scale), seen(block.key_scale)};
}

Tensor PaLM::hidden(const Tensor& tokens, const ReadOptions& options) {
  KvCache* const cache = options.cache;
  const bool reads_on = cache && !cache->empty();
  const int64_t time = tokens.size(1);
  const Tensor positions = reads_on ? cache->positions(time) : at::arange(time, tokens.options());
  const auto scale_base = config_.causal ? std::optional(config_.rotary_xpos_scale_base) : std::nullopt;
  if (scale_base && !cache) expect_within_reach(time, "tokens", *scale_base);
  const Rotary rotary = rotary_table(positions, config_.dim_head, scale_base);
  Reading reading{rotary.to(config_.dtype == at::kDouble ? at::kDouble : at::kFloat), /*visible=*/{}, options.segments,
                  cache, options.dropout.value_or(dropout_)};

  Tensor x = trained_embedding(seen_by(options.gradients, token_embedding_), tokens.clamp_min(0));
  if (options.extra_embedding.defined()) x = x + options.extra_embedding;
  const Kernels* const kernels = kernels_to_read(reading, x);
  if (!kernels)
    reading.visible = reads_on ? cache->visible(time) : visible_without_cache(config_, tokens, options.segments);
  const auto tables = kernels ? std::optional(fold_scales(rotary, config_.qk_scale)) : std::nullopt;
  const Tensor first = kernels && options.segments.defined() ? sequence_start(options.segments) : Tensor();
  for (int64_t layer = 0; layer < config_.depth; ++layer) {
    const auto adapters = options.scope ? std::optional(options.scope->layer(layer)) : std::nullopt;
    const ParallelBlock block = seen_by(options.gradients, blocks_[layer]);
    x = kernels ? FusedBlock{*kernels, config_, block, adapters, *tables, first, cache, layer}(x)
                : parallel_block(x, block, config_, adapters, layer, reading);
  }
  return layer_norm(x, seen_by(options.gradients, norm_));
}

Tensor PaLM::accept(const Tensor& tokens, const char* argument) const {
  expect_token_shape(tokens, argument);
  expect_range(tokens, argument, config_.causal ? 0 : std::numeric_limits<int64_t>::min(), config_.num_tokens,
               "Encode with the tokenizer that the model was made for, or give the model more tokens.");
  return to_ids(tokens, argument, config_.device);
}

Tensor PaLM::accept_segments(const std::optional<Tensor>& segments, const Tensor& tokens) const {
  if (!segments) return {};
  expect_shape(*segments, "segments", tokens.sizes());
  return to_ids(*segments, "segments", config_.device);
}

PaLM::Output PaLM::forward(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& segments,
                           Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  if (gradients == Gradients::all) prepare_gradients();
  const Tensor ids = accept(tokens, "tokens");
  const Tensor embeddings =
      hidden(ids, {.scope = scope, .segments = accept_segments(segments, ids), .gradients = gradients});
  return {trained_linear(embeddings, seen_by(gradients, token_embedding_)), embeddings};
}

Tensor PaLM::loss(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& mask,
                  const std::optional<Tensor>& segments, std::optional<double> denominator, Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  if (gradients == Gradients::all) prepare_gradients();
  const Tensor ids = accept(tokens, "tokens");
  if (ids.size(1) < 2)
    throw Error(ErrorKind::shape, "tokens", "rows of 1 token", "rows of at least 2", "A loss needs a next token.");
  if (mask) {
    expect_bool(*mask, "mask");
    expect_shape(*mask, "mask", ids.sizes());
  }
  const int64_t time = ids.size(1) - 1;
  const Tensor sequences = accept_segments(segments, ids);
  Tensor targets = mask ? mask->to(config_.device).narrow(1, 1, time) : Tensor();
  ReadOptions reading{.scope = scope, .gradients = gradients};
  if (sequences.defined()) {
    reading.segments = sequences.narrow(1, 0, time);
    const Tensor predicted = starts_sequence(sequences).narrow(1, 1, time).logical_not();
    targets = targets.defined() ? targets & predicted : predicted;
  }
  const Tensor read = hidden(ids.narrow(1, 0, time), reading);
  return language_loss(read, seen_by(gradients, token_embedding_), ids.narrow(1, 1, time), targets,
                       config_.ignore_index, denominator);
}

// --- parameters ------------------------------------------------------------------------------------------------------

static std::vector<ParameterBuffer::Entry> layer_entries(const PalmConfig& config, int64_t layer) {
  const std::string prefix = "layers." + std::to_string(layer) + ".";
  const int64_t heads = config.heads * config.dim_head;
  std::vector<ParameterBuffer::Entry> entries = {
      {prefix + "norm", {config.dim}},
      {prefix + "input", {heads + 2 * config.dim_head + 2 * config.ff(), config.dim}},
      {prefix + "output", {config.dim, heads + config.ff()}}};
  if (config.qk_rmsnorm) {
    entries.push_back({prefix + "query_scale", {config.dim_head}});
    entries.push_back({prefix + "key_scale", {config.dim_head}});
  }
  return entries;
}

PaLM::PaLM(const PalmConfig& config)
    : config_(config),
      outer_({{"token_embedding", {config.num_tokens, config.dim}}, {"norm", {config.dim}}}, config.dtype,
             config.device),
      token_embedding_(outer_.parameters()[0]->tensor),
      norm_(outer_.parameters()[1]->tensor) {
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    inner_.push_back(std::make_unique<ParameterBuffer>(layer_entries(config, layer), config.dtype, config.device));
    const auto& own = inner_.back()->parameters();
    ParallelBlock block{own[0]->tensor, own[1]->tensor, own[2]->tensor, {}, {}};
    if (config.qk_rmsnorm) {
      block.query_scale = own[3]->tensor;
      block.key_scale = own[4]->tensor;
    }
    blocks_.push_back(block);
  }
}

void fill_normal(Tensor parameter, double deviation, at::Generator& generator) {
  parameter.copy_(at::empty(parameter.sizes(), at::kFloat).normal_(0, deviation, generator));
}

void fill_uniform(Tensor parameter, double bound, at::Generator& generator) {
  parameter.copy_(at::empty(parameter.sizes(), at::kFloat).uniform_(-bound, bound, generator));
}

// Embeddings N(0, 0.02); every matrix U(±1/√fan_in), where the two halves of `output` have fan-ins of their own.
void PaLM::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  const int64_t heads = config_.heads * config_.dim_head;
  fill_normal(token_embedding_, 0.02, generator);
  norm_.zero_();
  for (const auto& block : blocks_) {
    block.norm.zero_();
    fill_uniform(block.input, 1 / std::sqrt(config_.dim), generator);
    fill_uniform(block.output.narrow(1, 0, heads), 1 / std::sqrt(heads), generator);
    fill_uniform(block.output.narrow(1, heads, config_.ff()), 1 / std::sqrt(config_.ff()), generator);
    if (config_.qk_rmsnorm) {
      block.query_scale.fill_(1);
      block.key_scale.fill_(1);
    }
  }
}

ParameterList PaLM::parameters() const {
  ParameterList all = {outer_.parameters()[0]};
  for (const auto& layer : inner_) all.insert(all.end(), layer->parameters().begin(), layer->parameters().end());
  all.push_back(outer_.parameters()[1]);
  return all;
}

ParameterList PaLM::python_parameters() const {
  const int64_t heads = config_.heads * config_.dim_head;
  ParameterList views = {view_of(outer_.parameters()[0], "token_emb.weight", {})};
  for (int64_t layer = 0; layer < config_.depth; ++layer) {
    const auto& own = inner_[layer]->parameters();
    const std::string prefix = "layers." + std::to_string(layer) + ".fn.";
    views.push_back(view_of(own[0], prefix + "norm.gamma", {}));
    views.push_back(view_of(own[1], prefix + "fused_attn_ff_proj.weight", {}));
    views.push_back(view_of(own[2], prefix + "attn_out.weight", Slice{1, 0, heads}));
    views.push_back(view_of(own[2], prefix + "ff_out.2.weight", Slice{1, heads, config_.ff()}));
    if (config_.qk_rmsnorm) {
      views.push_back(view_of(own[3], prefix + "q_scale", {}));
      views.push_back(view_of(own[4], prefix + "k_scale", {}));
    }
  }
  views.push_back(view_of(outer_.parameters()[1], "norm.gamma", {}));
  return views;
}

void PaLM::prepare_gradients() {
  outer_.prepare_gradients();
  for (auto& layer : inner_) layer->prepare_gradients();
}

std::vector<Tensor> PaLM::storages() const {
  std::vector<Tensor> all = {outer_.storage()};
  for (const auto& layer : inner_) all.push_back(layer->storage());
  return all;
}

void PaLM::merge_scope(const Scope& scope) {
  at::NoGradGuard no_grad;
  const int64_t heads = config_.heads * config_.dim_head;
  for (int64_t layer = 0; layer < config_.depth; ++layer) {
    const LayerAdapters adapters = scope.layer(layer);
    const Tensor input =
        at::cat({adapters.query.weight(), adapters.key.weight(), adapters.value.weight()}, 1);  // [D, HK + 2K]
    blocks_[layer].input.narrow(0, 0, heads + 2 * config_.dim_head).add_(input.t());
    blocks_[layer].output.narrow(1, 0, heads).add_(adapters.output.weight().t());
  }
}

// --- modes -----------------------------------------------------------------------------------------------------------

void PaLM::train(bool on, int64_t seed) {
  dropout_ = {config_.attn_dropout, config_.ff_dropout, {}};
  if (on) dropout_.generator = make_generator(config_.device, seed);
}

Tensor PaLM::generator_state() const {
  return dropout_.generator ? dropout_.generator->get_state() : at::empty({0}, at::kByte);
}

void PaLM::set_generator_state(const Tensor& state) {
  if (dropout_.generator && state.numel() > 0) dropout_.generator->set_state(state);
}

// --- decoding --------------------------------------------------------------------------------------------------------

KvCache PaLM::make_cache(int64_t batch, int64_t capacity) const {
  if (!config_.causal)
    throw Error(ErrorKind::argument, "causal", "a model whose tokens see those behind them", "a causal model",
                "A cache answers token by token: such a model can score texts, not write them.");
  expect_within_reach(capacity, "maxNewTokens", config_.rotary_xpos_scale_base);
  return KvCache(config_, batch, capacity);
}

std::shared_ptr<const PackedWeights> PaLM::packed(bool int8) {
  if (!packed_ || packed_->int8 != int8 || packed_->version != version_of(parameters())) {
    packed_.reset();  // never two of them at once
    packed_ = std::make_shared<const PackedWeights>(*this, int8);
  }
  return packed_;
}

std::unique_ptr<TokenReader> PaLM::token_reader(const Scope* scope, const KvCache& cache, int64_t samples, bool int8) {
  const Kernels* const kernels = config_.qk_rmsnorm ? nullptr : kernels_for(token_embedding_);
  if (!kernels || training()) return nullptr;
  if (GraphTokenReader::reads(*kernels, *this) && !int8)
    return std::make_unique<GraphTokenReader>(*kernels, *this, scope, cache, samples);
  if (!kernels->token.project) return nullptr;
  return std::make_unique<PalmTokenReader>(*kernels, *this, scope, cache, samples, int8);
}

}  // namespace palm
