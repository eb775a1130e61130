#include "model/fast/packed-decode-step.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/dispatch.h"
#include "model/fast/features.h"

namespace palm {

const char* PackedDecodeStep::unsupported(const DecoderDescription& decoder) {
  const auto is_l2 = [](const NormDescription& norm) { return norm.kind == NormKind::l2; };
  const auto flips = [](const LayerDescription& layer) { return layer.scale <= 0; };
  return first_present({{!decoder.causal, "attention to later tokens"},
                        {is_l2(decoder.norm), "l2 norms"},
                        norms_elsewhere(decoder),
                        {decoder.residual_from_norm, "residuals of normed inputs"},
                        {!decoder.alibi.empty(), "alibi"},
                        {decoder.softcap.has_value(), "soft caps of scores"},
                        {decoder.qk_norm && decoder.qk_norm->over == QkNormOver::all, "one norm over all queries"},
                        {decoder.qk_norm && is_l2(decoder.qk_norm->norm), "l2 norms of queries"},
                        {std::ranges::any_of(decoder.layers, flips), "scores with a negative scale"}});
}

PackedDecodeStep::PackedDecodeStep(const Kernels& kernels, const DecoderWeights& weights, PackedWeightsCache& packed,
                                   Embed embed, const Scope* scope, const KvCache& cache, int64_t samples, bool int8)
    : kernels_(kernels),
      weights_(weights),
      cached_(packed),
      embed_(std::move(embed)),
      scope_(scope),
      int8_(int8),
      cache_(cache, samples),
      rotaries_(rotary_tables(decoder(), at::arange(cache_.capacity(), at::TensorOptions(at::kLong)))) {
  refresh();
  allocate();
}

void PackedDecodeStep::refresh() {
  packed_ = cached_.get(weights_, int8_);
  pack_adapters();
  if (x_.defined()) plan();
}

void PackedDecodeStep::pack_adapters() {
  if (!scope_ || version_of(scope_->parameters()) == scope_version_) return;
  scope_version_ = version_of(scope_->parameters());
  adapters_.clear();
  for (int64_t layer = 0; layer < decoder().depth; ++layer) adapters_.emplace_back(scope_->layer(layer), decoder());
}

void PackedDecodeStep::keep_rows(const Tensor& rows) {
  cache_.keep_rows(rows);
  allocate();
}

bool PackedDecodeStep::copies_embeddings() const {
  return decoder().embedding_scale == 1 && !decoder().narrow_embedding() && !decoder().positions &&
         !decoder().embedding_norm;
}

// --- the plan: memory layout for all steps until the rows or the weights change

void PackedDecodeStep::allocate() {
  const auto options = weights_.outer().token_embedding.options().requires_grad(false);
  const int64_t batch = cache_.rows();
  int64_t rank = 0;
  for (const PackedAdapters& own : adapters_) rank = std::max(rank, own.rank);
  x_ = at::empty({batch, decoder().dim}, options);
  h_ = at::empty({batch, decoder().dim}, options);
  query_ = at::empty({batch, decoder().query_width()}, options);
  block_hidden_ = at::empty({batch, decoder().hidden_width()}, options);
  down_ = at::empty({batch, rank}, options);
  narrowed_ = at::empty({batch, decoder().embedding_dim}, options);
  logits_ = at::empty({batch, decoder().used_tokens}, options);
  statistics_ = at::empty({2, batch}, options.dtype(at::kFloat));
  const int64_t deepest = std::max({decoder().dim, decoder().hidden_width(), decoder().embedding_dim, rank});
  const int64_t floats = std::max(token_scratch(deepest, decoder().dim_head),
                                  token_attend_scratch(decoder().heads, decoder().dim_head, cache_.capacity()));
  scratch_ = at::empty({at::get_num_threads(), floats}, options.dtype(at::kFloat));
  plan();
}

// y = x · weightᵀ for all rows; x is as wide as the weight is deep.
PackedProductArgs PackedDecodeStep::plan_product(const Tensor& x, const PackedMatrix& weight, const Tensor& y,
                                                 int64_t columns) const {
  return {.x = x.const_data_ptr(),
          .x_stride = x.stride(0),
          .rows = x.size(0),
          .weight = weight.panels(),
          .y = y.mutable_data_ptr(),
          .y_stride = y.stride(0),
          .columns = columns,
          .add = false,
          .share = 1,
          .scratch = nullptr};
}

static const void* numbers_of(const Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }

NormArgs PackedDecodeStep::plan_norm(const Norm& weights) const {
  float* const mean = statistics_.mutable_data_ptr<float>();
  return {.x = x_.const_data_ptr(),
          .weight = numbers_of(weights.weight),
          .bias = numbers_of(weights.bias),
          .y = h_.mutable_data_ptr(),
          .mean = mean,
          .rstd = mean + x_.size(0),
          .width = x_.size(1),
          .x_rows = {1, x_.stride(0)},
          .y_rows = {1, h_.stride(0)},
          .eps = static_cast<float>(decoder().norm.eps),
          .offset = static_cast<float>(decoder().norm.offset),
          .kind = decoder().norm.kind};
}

NormArgs PackedDecodeStep::plan_head_norm(const Norm& weights) const {
  const NormDescription& norm = decoder().qk_norm->norm;
  return {.x = nullptr,
          .weight = numbers_of(weights.weight),
          .bias = numbers_of(weights.bias),
          .y = nullptr,
          .mean = nullptr,
          .rstd = nullptr,
          .width = decoder().dim_head,
          .x_rows = {1, 0},
          .y_rows = {1, 0},
          .eps = static_cast<float>(norm.eps),
          .offset = static_cast<float>(norm.offset),
          .kind = norm.kind};
}

TokenProjectArgs PackedDecodeStep::plan_project(int64_t index) const {
  const Layer& layer = layers_[index];
  const DecoderDescription& of = decoder();
  const int64_t rope = of.layer(index).rope;
  const RotaryTables rotary = rope < 0 ? RotaryTables{} : rotaries_[rope];
  const auto table = [](const Tensor& x) { return static_cast<const float*>(numbers_of(x)); };
  return {.h = h_.const_data_ptr(),
          .rows = x_.size(0),
          .dim = of.dim,
          .weight = packed_->blocks[index].input.panels(),
          .down = down_.const_data_ptr(),
          .adapters = adapters_.empty() ? nullptr : adapters_[index].pieces.data(),
          .down_stride = down_.stride(0),
          .heads = of.heads,
          .kv_heads = of.kv_heads,
          .head = of.dim_head,
          .ff = of.ff,
          .activation = of.activation,
          .gated = of.gated,
          .clip = static_cast<float>(of.clip_qkv.value_or(0)),
          .query_norm = of.qk_norm ? &layer.query_norm : nullptr,
          .key_norm = of.qk_norm ? &layer.key_norm : nullptr,
          .norm_stride = of.qk_norm && of.qk_norm->over == QkNormOver::per_head ? of.dim_head : 0,
          .turned = rope < 0 ? 0 : of.ropes[rope].width(),
          .position = cache_.positions().data(),
          .query_cos = table(rotary.query_cos),
          .query_sin = table(rotary.query_sin),
          .key_cos = table(rotary.key_cos),
          .key_sin = table(rotary.key_sin),
          .query = query_.mutable_data_ptr(),
          .block_hidden = block_hidden_.mutable_data_ptr(),
          .cache = cache_.layer(index),
          .scratch = nullptr};
}

// For attention, the feed-forward, or both at once.
PackedDecodeStep::Projection PackedDecodeStep::plan_projection(int64_t index, const Norm& norm, bool attention,
                                                               bool feed_forward) const {
  const int64_t heads = attention_pieces(decoder()), columns = panels_of(decoder().ff);
  Projection projection{.norm = plan_norm(norm),
                        .down = {},
                        .project = plan_project(index),
                        .first_unit = attention ? 0 : heads,
                        .units = (attention ? heads : 0) + (feed_forward ? columns : 0)};
  const auto plan_down = [&](bool wanted, const PackedAdapters::Input& input) {
    if (wanted && input.rank > 0)
      projection.down.push_back(plan_product(h_, input.down, down_.narrow(1, input.column, input.rank), input.rank));
  };
  if (adapters_.empty()) return projection;
  plan_down(attention, adapters_[index].attention);
  plan_down(feed_forward, adapters_[index].feed_forward);
  return projection;
}

TokenAttendArgs PackedDecodeStep::plan_attend(int64_t index) const {
  const LayerDescription& own = decoder().layer(index);
  return {.query = query_.const_data_ptr(),
          .heads = decoder().heads,
          .kv_heads = decoder().kv_heads,
          .head = decoder().dim_head,
          .groups = 1,
          .position = cache_.positions().data(),
          .window = own.window,
          .scale = static_cast<float>(remaining_scale(decoder(), index)),
          .cache = cache_.layer(index),
          .block_hidden = block_hidden_.mutable_data_ptr(),
          .block_hidden_stride = block_hidden_.size(1),
          .scratch = nullptr};
}

// x += residual scale · (columns first … first + count − 1 of `block_hidden` · weightᵀ + bias), with adapters.
PackedDecodeStep::Branch PackedDecodeStep::plan_branch(int64_t index, const PackedMatrix& weight, int64_t first,
                                                       int64_t count) const {
  const auto added = [&](const Tensor& part, const PackedMatrix& matrix) {
    PackedProductArgs args = plan_product(part, matrix, x_, decoder().dim);
    args.add = true;
    args.share = static_cast<float>(decoder().residual_scale);
    return args;
  };
  Branch branch{.down = {}, .up = {}, .product = added(block_hidden_.narrow(1, first, count), weight)};
  if (adapters_.empty()) return branch;
  for (const PackedAdapters::Output& adapter : adapters_[index].output) {
    if (adapter.first < first || adapter.first >= first + count) continue;
    const Tensor down = down_.narrow(1, adapter.column, adapter.rank);
    branch.down.push_back(plan_product(block_hidden_.narrow(1, adapter.first, adapter.down.panels().depth),
                                       adapter.down, down, adapter.rank));
    branch.up.push_back(added(down, adapter.up));
  }
  return branch;
}

void PackedDecodeStep::plan_layer(int64_t index) {
  const PackedWeights::Packed& packed = packed_->blocks[index];
  const Block& block = weights_.blocks()[index];
  Layer& layer = layers_[index];
  if (decoder().qk_norm) {
    layer.query_norm = plan_head_norm(block.query_norm);
    layer.key_norm = plan_head_norm(block.key_norm);
  }
  const bool parallel = decoder().parallel, shared = decoder().shared_norm;
  const int64_t width = decoder().query_width();
  layer.attention = plan_projection(index, block.norm, true, shared);
  layer.feed_forward = plan_projection(index, block.ff_norm, false, !shared);
  layer.attend = plan_attend(index);
  layer.output = plan_branch(index, packed.output, 0, parallel ? decoder().hidden_width() : width);
  if (!parallel) layer.down = plan_branch(index, packed.down, width, decoder().ff);
}

void PackedDecodeStep::plan() {
  layers_.resize(decoder().depth);  // projections point to the norms of their layer
  for (int64_t index = 0; index < decoder().depth; ++index) plan_layer(index);
  last_norm_ = plan_norm(weights_.outer().norm);
  const Tensor& last = decoder().final_norm ? h_ : x_;
  const bool narrow = decoder().narrow_embedding();
  if (narrow) narrow_ = plan_product(last, packed_->narrowing, narrowed_, decoder().embedding_dim);
  head_ = plan_product(narrow ? narrowed_ : last, packed_->head, logits_, decoder().used_tokens);
}

// --- the step

constexpr int64_t kRowsAtOnce = 16;  // rows that a thread normalises at once

float* PackedDecodeStep::scratch_of(const Worker& worker) const {
  return scratch_.mutable_data_ptr<float>() + worker.index() * scratch_.size(1);
}

void PackedDecodeStep::embed(const int64_t* tokens, int64_t begin, int64_t end) const {
  const size_t bytes = x_.size(1) * x_.element_size();
  const char* const table = static_cast<const char*>(weights_.outer().token_embedding.const_data_ptr());
  char* const x = static_cast<char*>(x_.mutable_data_ptr());
  for (int64_t row = begin; row < end; ++row) std::memcpy(x + row * bytes, table + tokens[row] * bytes, bytes);
}

// Panels that a thread takes at once: as many as a tile of the product spans.
static int64_t panels_at_once(int64_t rows) { return rows <= 2 ? 4 : 2; }

void PackedDecodeStep::multiply(PackedProductArgs args, Worker& worker) const {
  args.scratch = scratch_of(worker);
  worker.parallel_for(args.weight.count, panels_at_once(args.rows),
                      [&](int64_t begin, int64_t end) { kernels_.token.product(args, begin, end); });
}

// Some rows of a product with few columns.
void PackedDecodeStep::multiply_rows(PackedProductArgs args, int64_t begin, int64_t end, const Worker& worker) const {
  const int64_t size = x_.element_size();
  args.rows = end - begin;
  args.x = static_cast<const char*>(args.x) + begin * args.x_stride * size;
  args.y = static_cast<char*>(args.y) + begin * args.y_stride * size;
  args.scratch = scratch_of(worker);
  kernels_.token.product(args, 0, args.weight.count);
}

// With tokens, begins with their embeddings.
void PackedDecodeStep::project(const Projection& projection, const int64_t* tokens, Worker& worker) const {
  worker.parallel_for(x_.size(0), kRowsAtOnce, [&](int64_t begin, int64_t end) {
    if (tokens) embed(tokens, begin, end);
    kernels_.norm(projection.norm, begin, end);
    for (const PackedProductArgs& args : projection.down) multiply_rows(args, begin, end, worker);
  });
  TokenProjectArgs args = projection.project;
  args.scratch = scratch_of(worker);
  worker.parallel_for(projection.units, panels_at_once(args.rows) / 2, [&](int64_t begin, int64_t end) {
    kernels_.token.project(args, projection.first_unit + begin, projection.first_unit + end);
  });
}

// Splits by whole rows if they divide evenly among the threads, otherwise by groups of heads.
void PackedDecodeStep::attend(TokenAttendArgs args, Worker& worker) const {
  const int64_t rows = x_.size(0);
  args.groups = std::min(args.heads, worker.size() / std::gcd(worker.size(), rows));
  args.scratch = scratch_of(worker);
  worker.parallel_for(rows * args.groups, 4,
                      [&](int64_t begin, int64_t end) { kernels_.token.attend(args, begin, end); });
}

void PackedDecodeStep::add(const Branch& branch, Worker& worker) const {
  if (!branch.down.empty())
    worker.parallel_for(x_.size(0), kRowsAtOnce, [&](int64_t begin, int64_t end) {
      for (const PackedProductArgs& args : branch.down) multiply_rows(args, begin, end, worker);
    });
  multiply(branch.product, worker);
  for (const PackedProductArgs& args : branch.up) multiply(args, worker);
}

void PackedDecodeStep::step(const int64_t* tokens, Worker& worker) const {
  for (const Layer& layer : layers_) {
    project(layer.attention, &layer == &layers_.front() ? tokens : nullptr, worker);
    if (decoder().parallel && !decoder().shared_norm) project(layer.feed_forward, nullptr, worker);
    attend(layer.attend, worker);
    add(layer.output, worker);
    if (decoder().parallel) continue;
    project(layer.feed_forward, nullptr, worker);
    add(layer.down, worker);
  }
  if (decoder().final_norm)
    worker.parallel_for(x_.size(0), kRowsAtOnce,
                        [&](int64_t begin, int64_t end) { kernels_.norm(last_norm_, begin, end); });
  if (decoder().narrow_embedding()) multiply(narrow_, worker);
  multiply(head_, worker);
}

Tensor PackedDecodeStep::next_logits(const Tensor& tokens) {
  const Tensor ids = tokens.clamp(0, decoder().used_tokens - 1);
  const int64_t* const copied = copies_embeddings() ? ids.const_data_ptr<int64_t>() : nullptr;
  if (!copied) x_.copy_(embed_(ids.unsqueeze(1), at::tensor(cache_.positions()).unsqueeze(1)).squeeze(1));
  run_workers([&](Worker& worker) { step(copied, worker); });
  cache_.advance();
  return weights_.head().finished(logits_);
}

}  // namespace palm
