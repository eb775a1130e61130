#include "model/fast/packed-reader.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "kernels/dispatch.h"
#include "model/fast/features.h"

namespace palm {

const char* PackedReader::unsupported(const DecoderDescription& decoder) {
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

PackedReader::PackedReader(const Kernels& kernels, const DecoderWeights& weights, PackedWeightsCache& packed,
                           Embed embed, PackedCache cache, int64_t rows, bool int8)
    : kernels_(kernels),
      weights_(weights),
      cached_(packed),
      embed_(std::move(embed)),
      int8_(int8),
      cache_(std::move(cache)),
      rotaries_(rotary_tables(decoder(), at::arange(cache_.capacity(), at::TensorOptions(at::kLong)))) {
  packed_ = cached_.get(weights_, int8_);
  allocate(rows);
  plan_end();
}

bool PackedReader::refresh() {
  const auto latest = cached_.get(weights_, int8_);
  if (latest == packed_) return false;
  packed_ = latest;
  plans_.clear();
  plan_end();
  return true;
}

bool PackedReader::copies_embeddings() const {
  return decoder().embedding_scale == 1 && !decoder().narrow_embedding() && !decoder().positions &&
         !decoder().embedding_norm;
}

// --- the plan: memory layout for all steps until the rows or the weights change

void PackedReader::allocate(int64_t rows) {
  const auto options = weights_.outer().token_embedding.options().requires_grad(false);
  slots_.reserve(rows);
  positions_.reserve(rows);
  x_ = at::empty({rows, decoder().dim}, options);
  h_ = at::empty({rows, decoder().dim}, options);
  query_ = at::empty({rows, decoder().query_width()}, options);
  block_hidden_ = at::empty({rows, decoder().hidden_width()}, options);
  narrowed_ = at::empty({cache_.slots(), decoder().embedding_dim}, options);
  logits_ = at::empty({cache_.slots(), decoder().used_tokens}, options);
  statistics_ = at::empty({2, rows}, options.dtype(at::kFloat));
  const int64_t deepest = std::max({decoder().dim, decoder().hidden_width(), decoder().embedding_dim});
  const int64_t floats = std::max(token_scratch(deepest, decoder().dim_head),
                                  token_attend_scratch(decoder().heads, decoder().dim_head, cache_.capacity()));
  scratch_ = at::empty({at::get_num_threads(), floats}, options.dtype(at::kFloat));
}

// The plan for the adapters of `scope` as they are now.
PackedReader::Plan& PackedReader::plan_for(const Scope* scope) {
  const auto found = std::ranges::find_if(plans_, [&](const auto& plan) { return plan->scope == scope; });
  if (found != plans_.end() && (*found)->version == version_of(scope)) return **found;
  if (found != plans_.end()) plans_.erase(found);
  Plan plan{.scope = scope, .version = version_of(scope), .adapters = {}, .down = {}, .layers = {}};
  plan_all(*plans_.emplace_back(std::make_unique<Plan>(std::move(plan))));
  return *plans_.back();
}

void PackedReader::forget(const Scope* scope) {
  std::erase_if(plans_, [&](const auto& plan) { return plan->scope == scope; });
}

// y = x · weightᵀ for all rows; x is as wide as the weight is deep.
PackedProductArgs PackedReader::plan_product(const Tensor& x, const PackedMatrix& weight, const Tensor& y,
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

NormArgs PackedReader::plan_norm(const Norm& weights) const {
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

NormArgs PackedReader::plan_head_norm(const Norm& weights) const {
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

TokenProjectArgs PackedReader::plan_project(const Plan& plan, int64_t index) const {
  const Layer& layer = plan.layers[index];
  const DecoderDescription& of = decoder();
  const int64_t rope = of.layer(index).rope;
  const RotaryTables rotary = rope < 0 ? RotaryTables{} : rotaries_[rope];
  const auto table = [](const Tensor& x) { return static_cast<const float*>(numbers_of(x)); };
  return {.h = h_.const_data_ptr(),
          .rows = x_.size(0),
          .dim = of.dim,
          .weight = packed_->blocks[index].input.panels(),
          .down = plan.down.const_data_ptr(),
          .adapters = plan.adapters.empty() ? nullptr : plan.adapters[index].pieces.data(),
          .down_stride = plan.down.stride(0),
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
          .slot = slots_.data(),
          .position = positions_.data(),
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
PackedReader::Projection PackedReader::plan_projection(const Plan& plan, int64_t index, const Norm& norm,
                                                       bool attention, bool feed_forward) const {
  const int64_t heads = attention_pieces(decoder()), columns = panels_of(decoder().ff);
  Projection projection{.norm = plan_norm(norm),
                        .down = {},
                        .project = plan_project(plan, index),
                        .first_unit = attention ? 0 : heads,
                        .units = (attention ? heads : 0) + (feed_forward ? columns : 0)};
  const auto plan_down = [&](bool wanted, const PackedAdapters::Input& input) {
    if (wanted && input.rank > 0)
      projection.down.push_back(
          plan_product(h_, input.down, plan.down.narrow(1, input.column, input.rank), input.rank));
  };
  if (plan.adapters.empty()) return projection;
  plan_down(attention, plan.adapters[index].attention);
  plan_down(feed_forward, plan.adapters[index].feed_forward);
  return projection;
}

TokenAttendArgs PackedReader::plan_attend(int64_t index) const {
  const LayerDescription& own = decoder().layer(index);
  return {.query = query_.const_data_ptr(),
          .heads = decoder().heads,
          .kv_heads = decoder().kv_heads,
          .head = decoder().dim_head,
          .groups = 1,
          .slot = slots_.data(),
          .position = positions_.data(),
          .window = own.window,
          .scale = static_cast<float>(remaining_scale(decoder(), index)),
          .cache = cache_.layer(index),
          .block_hidden = block_hidden_.mutable_data_ptr(),
          .block_hidden_stride = block_hidden_.size(1),
          .scratch = nullptr};
}

// x += residual scale · (columns first … first + count − 1 of `block_hidden` · weightᵀ + bias), with adapters.
PackedReader::Branch PackedReader::plan_branch(const Plan& plan, int64_t index, const PackedMatrix& weight,
                                               int64_t first, int64_t count) const {
  const auto added = [&](const Tensor& part, const PackedMatrix& matrix) {
    PackedProductArgs args = plan_product(part, matrix, x_, decoder().dim);
    args.add = true;
    args.share = static_cast<float>(decoder().residual_scale);
    return args;
  };
  Branch branch{.down = {}, .up = {}, .product = added(block_hidden_.narrow(1, first, count), weight)};
  if (plan.adapters.empty()) return branch;
  for (const PackedAdapters::Output& adapter : plan.adapters[index].output) {
    if (adapter.first < first || adapter.first >= first + count) continue;
    const Tensor down = plan.down.narrow(1, adapter.column, adapter.rank);
    branch.down.push_back(plan_product(block_hidden_.narrow(1, adapter.first, adapter.down.panels().depth),
                                       adapter.down, down, adapter.rank));
    branch.up.push_back(added(down, adapter.up));
  }
  return branch;
}

void PackedReader::plan_layer(Plan& plan, int64_t index) const {
  const PackedWeights::Packed& packed = packed_->blocks[index];
  const Block& block = weights_.blocks()[index];
  Layer& layer = plan.layers[index];
  if (decoder().qk_norm) {
    layer.query_norm = plan_head_norm(block.query_norm);
    layer.key_norm = plan_head_norm(block.key_norm);
  }
  const bool parallel = decoder().parallel, shared = decoder().shared_norm;
  const int64_t width = decoder().query_width();
  layer.attention = plan_projection(plan, index, block.norm, true, shared);
  layer.feed_forward = plan_projection(plan, index, block.ff_norm, false, !shared);
  layer.attend = plan_attend(index);
  layer.output = plan_branch(plan, index, packed.output, 0, parallel ? decoder().hidden_width() : width);
  if (!parallel) layer.down = plan_branch(plan, index, packed.down, width, decoder().ff);
}

void PackedReader::plan_all(Plan& plan) {
  int64_t rank = 0;
  for (int64_t layer = 0; plan.scope && layer < decoder().depth; ++layer) {
    plan.adapters.emplace_back(plan.scope->layer(layer), decoder());
    rank = std::max(rank, plan.adapters.back().rank);
  }
  plan.down = at::empty({x_.size(0), rank}, x_.options());
  const int64_t floats = token_scratch(rank, decoder().dim_head);
  if (floats > scratch_.size(1)) scratch_ = at::empty({scratch_.size(0), floats}, scratch_.options());
  plan.layers.resize(decoder().depth);  // projections point to the norms of their layer
  for (int64_t index = 0; index < decoder().depth; ++index) plan_layer(plan, index);
}

// What follows the last layer.
void PackedReader::plan_end() {
  last_norm_ = plan_norm(weights_.outer().norm);
  const bool narrow = decoder().narrow_embedding();
  if (narrow) narrow_ = plan_product(h_, packed_->narrowing, narrowed_, decoder().embedding_dim);
  head_ = plan_product(narrow ? narrowed_ : h_, packed_->head, logits_, decoder().used_tokens);
}

// --- the step

constexpr int64_t kRowsAtOnce = 16;  // rows that a thread normalises at once

float* PackedReader::scratch_of(const Worker& worker) const {
  return scratch_.mutable_data_ptr<float>() + worker.index() * scratch_.size(1);
}

void PackedReader::embed(const int64_t* tokens, int64_t begin, int64_t end) const {
  const size_t bytes = x_.size(1) * x_.element_size();
  const char* const table = static_cast<const char*>(weights_.outer().token_embedding.const_data_ptr());
  char* const x = static_cast<char*>(x_.mutable_data_ptr());
  for (int64_t row = begin; row < end; ++row) std::memcpy(x + row * bytes, table + tokens[row] * bytes, bytes);
}

// Panels that a thread takes at once: as many as a tile of the product spans.
static int64_t panels_at_once(int64_t rows) { return rows <= 2 ? 4 : 2; }

void PackedReader::multiply(PackedProductArgs args, int64_t rows, Worker& worker) const {
  args.rows = rows;
  args.scratch = scratch_of(worker);
  worker.parallel_for(args.weight.count, panels_at_once(args.rows),
                      [&](int64_t begin, int64_t end) { kernels_.token.product(args, begin, end); });
}

// Some rows of a product with few columns.
void PackedReader::multiply_rows(PackedProductArgs args, int64_t begin, int64_t end, const Worker& worker) const {
  const int64_t size = x_.element_size();
  args.rows = end - begin;
  args.x = static_cast<const char*>(args.x) + begin * args.x_stride * size;
  args.y = static_cast<char*>(args.y) + begin * args.y_stride * size;
  args.scratch = scratch_of(worker);
  kernels_.token.product(args, 0, args.weight.count);
}

// With tokens, begins with their embeddings.
void PackedReader::project(const Projection& projection, const int64_t* tokens, Worker& worker) const {
  worker.parallel_for(rows(), kRowsAtOnce, [&](int64_t begin, int64_t end) {
    if (tokens) embed(tokens, begin, end);
    kernels_.norm(projection.norm, begin, end);
    for (const PackedProductArgs& args : projection.down) multiply_rows(args, begin, end, worker);
  });
  TokenProjectArgs args = projection.project;
  args.rows = rows();
  args.scratch = scratch_of(worker);
  worker.parallel_for(projection.units, panels_at_once(args.rows) / 2, [&](int64_t begin, int64_t end) {
    kernels_.token.project(args, projection.first_unit + begin, projection.first_unit + end);
  });
}

// Splits by whole rows if they divide evenly among the threads, otherwise by groups of heads.
void PackedReader::attend(TokenAttendArgs args, Worker& worker) const {
  args.groups = std::min(args.heads, worker.size() / std::gcd(worker.size(), rows()));
  args.scratch = scratch_of(worker);
  worker.parallel_for(rows() * args.groups, 4,
                      [&](int64_t begin, int64_t end) { kernels_.token.attend(args, begin, end); });
}

void PackedReader::add(const Branch& branch, Worker& worker) const {
  if (!branch.down.empty())
    worker.parallel_for(rows(), kRowsAtOnce, [&](int64_t begin, int64_t end) {
      for (const PackedProductArgs& args : branch.down) multiply_rows(args, begin, end, worker);
    });
  multiply(branch.product, rows(), worker);
  for (const PackedProductArgs& args : branch.up) multiply(args, rows(), worker);
}

// The last norm of the wanted rows, side by side, and their logits.
void PackedReader::finish(const std::vector<int64_t>& wanted, Worker& worker) const {
  const int64_t count = static_cast<int64_t>(wanted.size()), bytes = x_.size(1) * x_.element_size();
  worker.parallel_for(count, kRowsAtOnce, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      NormArgs args = last_norm_;
      args.x = static_cast<const char*>(args.x) + wanted[i] * bytes;
      args.y = static_cast<char*>(args.y) + i * bytes;
      args.mean += i;
      args.rstd += i;
      if (decoder().final_norm)
        kernels_.norm(args, 0, 1);
      else
        std::memcpy(args.y, args.x, bytes);
    }
  });
  if (decoder().narrow_embedding()) multiply(narrow_, count, worker);
  multiply(head_, count, worker);
}

void PackedReader::step(const Plan& plan, const TokenRows& rows, Worker& worker) const {
  const int64_t* tokens = copies_embeddings() ? rows.token.const_data_ptr<int64_t>() : nullptr;
  for (const Layer& layer : plan.layers) {
    project(layer.attention, std::exchange(tokens, nullptr), worker);
    if (decoder().parallel && !decoder().shared_norm) project(layer.feed_forward, nullptr, worker);
    attend(layer.attend, worker);
    add(layer.output, worker);
    if (decoder().parallel) continue;
    project(layer.feed_forward, nullptr, worker);
    add(layer.down, worker);
  }
  if (!rows.wanted.empty()) finish(rows.wanted, worker);
}

Tensor PackedReader::read(const Scope* scope, const TokenRows& rows) {
  slots_.assign(rows.slot.begin(), rows.slot.end());
  positions_.assign(rows.position.begin(), rows.position.end());
  const Plan& plan = plan_for(scope);
  if (!copies_embeddings()) {
    const Tensor positions = at::tensor(rows.position).unsqueeze(1);
    x_.narrow(0, 0, rows.size()).copy_(embed_(rows.token.unsqueeze(1), positions).squeeze(1));
  }
  run_workers([&](Worker& worker) { step(plan, rows, worker); });
  return weights_.head().finished(logits_.narrow(0, 0, static_cast<int64_t>(rows.wanted.size())));
}

}  // namespace palm
