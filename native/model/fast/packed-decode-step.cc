#include "model/fast/packed-decode-step.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/dispatch.h"

namespace palm {

bool PackedDecodeStep::supports(const Kernels& kernels, const DecoderDescription& decoder, const Scope* scope) {
  if (!kernels.token.project) return false;
  return !scope || scope->fills({"query", "key", "value", "output"}, decoder.depth);
}

PackedDecodeStep::PackedDecodeStep(const Kernels& kernels, const DecoderWeights& weights, PackedWeightsCache& packed,
                                   const Scope* scope, const KvCache& cache, int64_t samples, bool int8)
    : kernels_(kernels), weights_(weights), cached_(packed), scope_(scope), int8_(int8) {
  capacity_ = panels_of(cache.capacity()) * kPanel;
  const Tensor positions = at::arange(capacity_, at::TensorOptions(at::kLong));
  rotary_ = fold_scales(rotary_table(positions, decoder().ropes.front()), decoder().layers.front().scale);
  refresh();
  take(cache, samples);
  allocate();
}

void PackedDecodeStep::refresh() {
  packed_ = cached_.get(weights_, int8_);
  pack_adapters();
  if (x_.defined()) plan();
}

void PackedDecodeStep::pack_adapters() {
  if (!scope_ || version_of(scope_->parameters()) == scope_version_) return;
  const PanelType type = panel_type(decoder().dtype, /*int8=*/false);
  scope_version_ = version_of(scope_->parameters());
  adapters_.clear();
  for (int64_t layer = 0; layer < decoder().depth; ++layer) {
    const LayerAdapters own = scope_->layer(layer);
    std::vector<Tensor> down, up;
    for (const Adapter& adapter : own.input) {  // of query, key and value
      down.push_back(adapter.a.detach());
      add_pieces(up, adapter.up().detach().t(), decoder().dim_head);
    }
    const Adapter& output = own.output.front();
    adapters_.push_back({.down = PackedMatrix({at::cat(down, 1).t()}, type),
                         .up = PackedMatrix(up, type),
                         .output_down = PackedMatrix({output.a.detach().t()}, type),
                         .output_up = PackedMatrix({output.up().detach().t()}, type)});
    rank_ = output.a.size(1);
  }
}

// --- the cache

// Packs a row's cached keys and values into panels.
template <class T>
static void pack_row(T* keys, T* values, const T* key, const T* value, int64_t length, int64_t head, int64_t capacity) {
  constexpr bool kPairs = sizeof(T) == 2;
  const int64_t depth = panel_depth(kPairs, head);
  for (int64_t s = 0; s < length; ++s) {
    T* const panel = keys + s / kPanel * kPanel * depth;
    for (int64_t k = 0; k < head; ++k) {
      panel[panel_index(kPairs, k, s % kPanel)] = key[s * head + k];
      values[k / kPanel * kPanel * capacity + panel_index(kPairs, s, k % kPanel)] = value[s * head + k];
    }
  }
}

template <class T>
static void pack_cache(const Tensor& keys, const Tensor& values, const KvCache& cache, int64_t samples,
                       int64_t capacity) {
  const int64_t layers = cache.keys().size(0), batch = cache.keys().size(1), head = cache.keys().size(4);
  const int64_t from_stride = cache.capacity() * head, key_stride = keys.size(2), value_stride = values.size(2);
  const int64_t* const lengths = cache.lengths().const_data_ptr<int64_t>();
  const T* const key = cache.keys().const_data_ptr<T>();
  const T* const value = cache.values().const_data_ptr<T>();
  T* const to_keys = keys.mutable_data_ptr<T>();
  T* const to_values = values.mutable_data_ptr<T>();
  at::parallel_for(0, layers * batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T* const first_key = to_keys + row * samples * key_stride;
      T* const first_value = to_values + row * samples * value_stride;
      pack_row(first_key, first_value, key + row * from_stride, value + row * from_stride, lengths[row % batch], head,
               capacity);
      for (int64_t i = 1; i < samples; ++i) {
        std::memcpy(first_key + i * key_stride, first_key, sizeof(T) * key_stride);
        std::memcpy(first_value + i * value_stride, first_value, sizeof(T) * value_stride);
      }
    }
  });
}

void PackedDecodeStep::take(const KvCache& cache, int64_t samples) {
  const int64_t head = decoder().dim_head, batch = cache.lengths().size(0) * samples;
  const bool pairs = decoder().dtype == at::kBFloat16;
  keys_ = at::zeros({decoder().depth, batch, capacity_ * panel_depth(pairs, head)}, cache.keys().options());
  values_ = at::zeros({decoder().depth, batch, panels_of(head) * kPanel * capacity_}, cache.keys().options());
  if (pairs)
    pack_cache<at::BFloat16>(keys_, values_, cache, samples, capacity_);
  else
    pack_cache<float>(keys_, values_, cache, samples, capacity_);
  for (int64_t row = 0; row < batch; ++row)
    position_.push_back(cache.lengths().const_data_ptr<int64_t>()[row / samples]);
}

void PackedDecodeStep::keep_rows(const Tensor& rows) {
  keys_ = keys_.index_select(1, rows);
  values_ = values_.index_select(1, rows);
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < rows.size(0); ++i) kept.push_back(position_[rows.const_data_ptr<int64_t>()[i]]);
  position_ = std::move(kept);
  allocate();
}

// --- the plan: memory layout for all steps until the rows or the weights change

void PackedDecodeStep::allocate() {
  const auto options = weights_.outer().token_embedding.options().requires_grad(false);
  const int64_t batch = static_cast<int64_t>(position_.size()), heads = decoder().query_width();
  x_ = at::empty({batch, decoder().dim}, options);
  h_ = at::empty({batch, decoder().dim}, options);
  query_ = at::empty({batch, heads}, options);
  block_hidden_ = at::empty({batch, decoder().hidden_width()}, options);
  down_ = at::empty({batch, 3 * rank_}, options);
  logits_ = at::empty({batch, decoder().used_tokens}, options);
  statistics_ = at::empty({2, batch}, options.dtype(at::kFloat));
  const int64_t deepest = std::max({decoder().dim, decoder().hidden_width(), rank_});
  const int64_t floats = std::max(token_scratch(deepest, decoder().dim_head),
                                  token_attend_scratch(decoder().heads, decoder().dim_head, capacity_));
  scratch_ = at::empty({at::get_num_threads(), floats}, options.dtype(at::kFloat));
  plan();
}

// y = x · weightᵀ for all rows; x is as wide as the weight is deep.
static PackedProductArgs plan_product(const Tensor& x, const PackedMatrix& weight, const Tensor& y, int64_t columns,
                                      bool add) {
  return {.x = x.const_data_ptr(),
          .x_stride = x.size(1),
          .rows = x.size(0),
          .weight = weight.panels(),
          .y = y.mutable_data_ptr(),
          .y_stride = y.size(1),
          .columns = columns,
          .add = add,
          .scratch = nullptr};
}

NormArgs PackedDecodeStep::plan_norm(const Tensor& gamma) {
  float* const mean = statistics_.mutable_data_ptr<float>();
  return {.x = x_.const_data_ptr(),
          .weight = gamma.const_data_ptr(),
          .bias = nullptr,
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

TokenCache PackedDecodeStep::cache_of(int64_t layer) const {
  return {.keys = keys_.select(0, layer).mutable_data_ptr(),
          .values = values_.select(0, layer).mutable_data_ptr(),
          .key_stride = keys_.size(2),
          .value_stride = values_.size(2),
          .capacity = capacity_};
}

PackedDecodeStep::Layer PackedDecodeStep::plan_layer(int64_t index) {
  const PackedWeights::Packed& packed = packed_->blocks[index];
  const TokenCache cache = cache_of(index);
  Layer layer{};
  layer.norm = plan_norm(weights_.blocks()[index].norm.weight);
  layer.project = {.h = h_.const_data_ptr(),
                   .rows = x_.size(0),
                   .dim = decoder().dim,
                   .weight = packed.input.panels(),
                   .down = nullptr,
                   .rank = rank_,
                   .up = {},
                   .heads = decoder().heads,
                   .head = decoder().dim_head,
                   .ff = decoder().ff,
                   .position = position_.data(),
                   .query_cos = rotary_.query_cos.const_data_ptr<float>(),
                   .query_sin = rotary_.query_sin.const_data_ptr<float>(),
                   .key_cos = rotary_.key_cos.const_data_ptr<float>(),
                   .key_sin = rotary_.key_sin.const_data_ptr<float>(),
                   .query = query_.mutable_data_ptr(),
                   .block_hidden = block_hidden_.mutable_data_ptr(),
                   .cache = cache,
                   .scratch = nullptr};
  layer.attend = {.query = query_.const_data_ptr(),
                  .heads = decoder().heads,
                  .head = decoder().dim_head,
                  .groups = 1,
                  .position = position_.data(),
                  .cache = cache,
                  .block_hidden = block_hidden_.mutable_data_ptr(),
                  .block_hidden_stride = block_hidden_.size(1),
                  .scratch = nullptr};
  layer.output = plan_product(block_hidden_, packed.output, x_, decoder().dim, /*add=*/true);
  if (adapters_.empty()) return layer;
  const Adapters& own = adapters_[index];
  layer.down = plan_product(h_, own.down, down_, 3 * rank_, /*add=*/false);
  layer.project.down = down_.const_data_ptr();
  layer.project.up = own.up.panels();
  layer.output_down = plan_product(block_hidden_, own.output_down, down_, rank_, /*add=*/false);
  layer.output_up = plan_product(down_, own.output_up, x_, decoder().dim, /*add=*/true);
  return layer;
}

void PackedDecodeStep::plan() {
  layers_.clear();
  for (int64_t index = 0; index < decoder().depth; ++index) layers_.push_back(plan_layer(index));
  last_norm_ = plan_norm(weights_.outer().norm.weight);
  head_ = plan_product(h_, packed_->head, logits_, decoder().used_tokens, false);
}

// --- the step

float* PackedDecodeStep::scratch_of(const Worker& worker) const {
  return scratch_.mutable_data_ptr<float>() + worker.index() * scratch_.size(1);
}

void PackedDecodeStep::embed(const int64_t* tokens, int64_t begin, int64_t end) const {
  const size_t bytes = x_.size(1) * x_.element_size();
  const char* const table = static_cast<const char*>(weights_.outer().token_embedding.const_data_ptr());
  char* const x = static_cast<char*>(x_.mutable_data_ptr());
  for (int64_t row = begin; row < end; ++row) {
    const int64_t token = tokens[row] >= 0 && tokens[row] < decoder().used_tokens ? tokens[row] : 0;
    std::memcpy(x + row * bytes, table + token * bytes, bytes);
  }
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

void PackedDecodeStep::project(TokenProjectArgs args, Worker& worker) const {
  const int64_t units = args.heads + 2 + panels_of(args.ff);
  args.scratch = scratch_of(worker);
  worker.parallel_for(units, panels_at_once(args.rows) / 2,
                      [&](int64_t begin, int64_t end) { kernels_.token.project(args, begin, end); });
}

// Splits by whole rows if they divide evenly among the threads, otherwise by groups of heads.
void PackedDecodeStep::attend(TokenAttendArgs args, Worker& worker) const {
  const int64_t rows = x_.size(0);
  args.groups = std::min(args.heads, worker.size() / std::gcd(worker.size(), rows));
  args.scratch = scratch_of(worker);
  worker.parallel_for(rows * args.groups, 4,
                      [&](int64_t begin, int64_t end) { kernels_.token.attend(args, begin, end); });
}

void PackedDecodeStep::step(const int64_t* tokens, Worker& worker) const {
  const int64_t rows = x_.size(0);
  constexpr int64_t kRows = 16;  // rows that a thread normalises at once
  for (const Layer& layer : layers_) {
    const bool adapted = layer.project.down != nullptr;
    worker.parallel_for(rows, kRows, [&](int64_t begin, int64_t end) {
      if (&layer == &layers_.front()) embed(tokens, begin, end);
      kernels_.norm(layer.norm, begin, end);
      if (adapted) multiply_rows(layer.down, begin, end, worker);
    });
    project(layer.project, worker);
    attend(layer.attend, worker);
    if (adapted)
      worker.parallel_for(rows, kRows,
                          [&](int64_t begin, int64_t end) { multiply_rows(layer.output_down, begin, end, worker); });
    multiply(layer.output, worker);
    if (adapted) multiply(layer.output_up, worker);
  }
  worker.parallel_for(rows, kRows, [&](int64_t begin, int64_t end) { kernels_.norm(last_norm_, begin, end); });
  multiply(head_, worker);
}

Tensor PackedDecodeStep::next_logits(const Tensor& tokens) {
  const Tensor ids = tokens.contiguous();
  run_workers([&](Worker& worker) { step(ids.const_data_ptr<int64_t>(), worker); });
  for (int64_t& position : position_) ++position;
  return logits_;
}

}  // namespace palm
