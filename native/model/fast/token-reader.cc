#include "model/fast/token-reader.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/dispatch.h"
#include "model/kv-cache.h"
#include "model/lora.h"
#include "model/palm.h"

namespace palm {

int64_t version_of(const ParameterList& parameters) {
  int64_t sum = 0;
  for (const auto& parameter : parameters) sum += static_cast<int64_t>(parameter->tensor._version());
  return sum;
}

// Pieces of `size` rows each.
static void add_pieces(std::vector<Tensor>& pieces, const Tensor& rows, int64_t size) {
  for (int64_t first = 0; first < rows.size(0); first += size)
    pieces.push_back(rows.narrow(0, first, std::min(size, rows.size(0) - first)));
}

static std::vector<Tensor> input_pieces(const Tensor& input, const PalmConfig& config) {
  const int64_t attended = (config.heads + 2) * config.dim_head, ff = config.ff();
  std::vector<Tensor> pieces;
  add_pieces(pieces, input.narrow(0, 0, attended), config.dim_head);
  const Tensor value = input.narrow(0, attended, ff), gate = input.narrow(0, attended + ff, ff);
  for (int64_t first = 0; first < ff; first += kPanel) {
    const int64_t count = std::min(kPanel, ff - first);
    pieces.push_back(value.narrow(0, first, count));
    pieces.push_back(gate.narrow(0, first, count));
  }
  return pieces;
}

PackedWeights::PackedWeights(const PaLM& palm, bool rounded) : version(version_of(palm.parameters())), int8(rounded) {
  const PanelType type = panel_type(palm.config().dtype, int8);
  for (const ParallelBlock& block : palm.blocks())
    blocks.push_back({PackedMatrix(input_pieces(block.input.detach(), palm.config()), type),
                      PackedMatrix({block.output.detach()}, type)});
  head = PackedMatrix({palm.head().detach()}, type);
}

PalmTokenReader::PalmTokenReader(const Kernels& kernels, PaLM& palm, const Scope* scope, const KvCache& cache,
                                 int64_t samples, bool int8)
    : kernels_(kernels), palm_(palm), scope_(scope), int8_(int8) {
  const PalmConfig& config = palm.config();
  capacity_ = panels_of(cache.capacity()) * kPanel;
  const Tensor positions = at::arange(capacity_, at::TensorOptions(at::kLong));
  rotary_ = fold_scales(rotary_table(positions, config.dim_head, config.rotary_xpos_scale_base), config.qk_scale);
  refresh();
  take(cache, samples);
  allocate();
}

void PalmTokenReader::refresh() {
  weights_ = palm_.packed(int8_);
  pack_adapters();
  if (x_.defined()) plan();
}

void PalmTokenReader::pack_adapters() {
  if (!scope_ || version_of(scope_->parameters()) == scope_version_) return;
  const PalmConfig& config = palm_.config();
  const PanelType type = panel_type(config.dtype, /*int8=*/false);
  scope_version_ = version_of(scope_->parameters());
  adapters_.clear();
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    const LayerAdapters own = scope_->layer(layer);
    std::vector<Tensor> up;
    for (const Adapter* adapter : {&own.query, &own.key, &own.value})
      add_pieces(up, adapter->up().detach().t(), config.dim_head);
    adapters_.push_back(
        {PackedMatrix({at::cat({own.query.a.detach(), own.key.a.detach(), own.value.a.detach()}, 1).t()}, type),
         PackedMatrix(up, type), PackedMatrix({own.output.a.detach().t()}, type),
         PackedMatrix({own.output.up().detach().t()}, type)});
    rank_ = own.query.a.size(1);
  }
}

// --- the cache

// What a row has stored so far, in panels.
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
  const int64_t layers = cache.keys().size(0), batch = cache.keys().size(1), head = cache.keys().size(3);
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

void PalmTokenReader::take(const KvCache& cache, int64_t samples) {
  const PalmConfig& config = palm_.config();
  const int64_t head = config.dim_head, batch = cache.lengths().size(0) * samples;
  const bool pairs = config.dtype == at::kBFloat16;
  keys_ = at::zeros({config.depth, batch, capacity_ * panel_depth(pairs, head)}, cache.keys().options());
  values_ = at::zeros({config.depth, batch, panels_of(head) * kPanel * capacity_}, cache.keys().options());
  if (pairs)
    pack_cache<at::BFloat16>(keys_, values_, cache, samples, capacity_);
  else
    pack_cache<float>(keys_, values_, cache, samples, capacity_);
  for (int64_t row = 0; row < batch; ++row)
    position_.push_back(cache.lengths().const_data_ptr<int64_t>()[row / samples]);
}

void PalmTokenReader::keep_rows(const Tensor& rows) {
  keys_ = keys_.index_select(1, rows);
  values_ = values_.index_select(1, rows);
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < rows.size(0); ++i) kept.push_back(position_[rows.const_data_ptr<int64_t>()[i]]);
  position_ = std::move(kept);
  allocate();
}

// --- the plan: where everything lies, for all steps until rows or weights change

void PalmTokenReader::allocate() {
  const PalmConfig& config = palm_.config();
  const auto options = palm_.options();
  const int64_t batch = static_cast<int64_t>(position_.size()), heads = config.heads * config.dim_head;
  x_ = at::empty({batch, config.dim}, options);
  h_ = at::empty({batch, config.dim}, options);
  query_ = at::empty({batch, heads}, options);
  mixed_ = at::empty({batch, heads + config.ff()}, options);
  down_ = at::empty({batch, 3 * rank_}, options);
  logits_ = at::empty({batch, config.num_tokens}, options);
  statistics_ = at::empty({2, batch}, options.dtype(at::kFloat));
  const int64_t deepest = std::max({config.dim, heads + config.ff(), rank_});
  const int64_t floats =
      std::max(token_scratch(deepest, config.dim_head), token_attend_scratch(config.heads, config.dim_head, capacity_));
  scratch_ = at::empty({at::get_num_threads(), floats}, options.dtype(at::kFloat));
  plan();
}

// y = x · weightᵀ of all rows; x is as wide as the weight is deep.
static PackedProductArgs plan_product(const Tensor& x, const PackedMatrix& weight, const Tensor& y, int64_t columns,
                                      bool add) {
  return {x.const_data_ptr(), x.size(1), x.size(0), weight.panels(), y.mutable_data_ptr(),
          y.size(1),          columns,   add,       nullptr};
}

LayerNormArgs PalmTokenReader::plan_norm(const Tensor& gamma) {
  float* const mean = statistics_.mutable_data_ptr<float>();
  return {x_.const_data_ptr(), gamma.const_data_ptr(), h_.mutable_data_ptr(), mean, mean + x_.size(0), x_.size(1)};
}

PalmTokenReader::Layer PalmTokenReader::plan_layer(int64_t index) {
  const PalmConfig& config = palm_.config();
  const PackedWeights::Block& block = weights_->blocks[index];
  const TokenCache cache{keys_.select(0, index).mutable_data_ptr(), values_.select(0, index).mutable_data_ptr(),
                         keys_.size(2), values_.size(2), capacity_};
  Layer layer{};
  layer.norm = plan_norm(palm_.blocks()[index].norm);
  layer.project = {h_.const_data_ptr(),
                   x_.size(0),
                   config.dim,
                   block.input.panels(),
                   nullptr,
                   rank_,
                   {},
                   config.heads,
                   config.dim_head,
                   config.ff(),
                   position_.data(),
                   rotary_.query_cos.const_data_ptr<float>(),
                   rotary_.query_sin.const_data_ptr<float>(),
                   rotary_.key_cos.const_data_ptr<float>(),
                   rotary_.key_sin.const_data_ptr<float>(),
                   query_.mutable_data_ptr(),
                   mixed_.mutable_data_ptr(),
                   cache,
                   nullptr};
  layer.attend = {query_.const_data_ptr(),   config.heads,   config.dim_head, 1, position_.data(), cache,
                  mixed_.mutable_data_ptr(), mixed_.size(1), nullptr};
  layer.leave = plan_product(mixed_, block.output, x_, config.dim, /*add=*/true);
  if (adapters_.empty()) return layer;
  const Adapters& own = adapters_[index];
  layer.down = plan_product(h_, own.down, down_, 3 * rank_, false);
  layer.project.down = down_.const_data_ptr();
  layer.project.up = own.up.panels();
  layer.output_down = plan_product(mixed_, own.output_down, down_, rank_, false);
  layer.output_up = plan_product(down_, own.output_up, x_, config.dim, /*add=*/true);
  return layer;
}

void PalmTokenReader::plan() {
  layers_.clear();
  for (int64_t index = 0; index < palm_.config().depth; ++index) layers_.push_back(plan_layer(index));
  last_norm_ = plan_norm(palm_.norm());
  head_ = plan_product(h_, weights_->head, logits_, palm_.num_tokens(), false);
}

// --- the step

float* PalmTokenReader::scratch_of(const Member& member) const {
  return scratch_.mutable_data_ptr<float>() + member.index() * scratch_.size(1);
}

void PalmTokenReader::embed(const int64_t* tokens, int64_t begin, int64_t end) const {
  const size_t bytes = x_.size(1) * x_.element_size();
  const char* const table = static_cast<const char*>(palm_.head().const_data_ptr());
  char* const x = static_cast<char*>(x_.mutable_data_ptr());
  for (int64_t row = begin; row < end; ++row) {
    const int64_t token = tokens[row] >= 0 && tokens[row] < palm_.num_tokens() ? tokens[row] : 0;
    std::memcpy(x + row * bytes, table + token * bytes, bytes);
  }
}

// Panels that a thread takes at once: as many as the tiles of the product are wide.
static int64_t panels_at_once(int64_t rows) { return rows <= 2 ? 4 : 2; }

void PalmTokenReader::multiply(PackedProductArgs args, Member& member) const {
  args.scratch = scratch_of(member);
  member.share(args.weight.count, panels_at_once(args.rows),
               [&](int64_t begin, int64_t end) { kernels_.token.product(args, begin, end); });
}

// Some rows of a product with few columns.
void PalmTokenReader::multiply_rows(PackedProductArgs args, int64_t begin, int64_t end, const Member& member) const {
  const int64_t size = x_.element_size();
  args.rows = end - begin;
  args.x = static_cast<const char*>(args.x) + begin * args.x_stride * size;
  args.y = static_cast<char*>(args.y) + begin * args.y_stride * size;
  args.scratch = scratch_of(member);
  kernels_.token.product(args, 0, args.weight.count);
}

void PalmTokenReader::project(TokenProjectArgs args, Member& member) const {
  const int64_t units = args.heads + 2 + panels_of(args.ff);
  args.scratch = scratch_of(member);
  member.share(units, panels_at_once(args.rows) / 2,
               [&](int64_t begin, int64_t end) { kernels_.token.project(args, begin, end); });
}

// Whole rows where they divide evenly among the threads, else parts of their heads.
void PalmTokenReader::attend(TokenAttendArgs args, Member& member) const {
  const int64_t rows = x_.size(0);
  args.groups = std::min(args.heads, member.size() / std::gcd(member.size(), rows));
  args.scratch = scratch_of(member);
  member.share(rows * args.groups, 4, [&](int64_t begin, int64_t end) { kernels_.token.attend(args, begin, end); });
}

void PalmTokenReader::step(const int64_t* tokens, Member& member) const {
  const int64_t rows = x_.size(0);
  constexpr int64_t kRows = 16;  // that a thread normalises at once
  for (const Layer& layer : layers_) {
    const bool adapted = layer.project.down != nullptr;
    member.share(rows, kRows, [&](int64_t begin, int64_t end) {
      if (&layer == &layers_.front()) embed(tokens, begin, end);
      kernels_.layer_norm(layer.norm, begin, end);
      if (adapted) multiply_rows(layer.down, begin, end, member);
    });
    project(layer.project, member);
    attend(layer.attend, member);
    if (adapted)
      member.share(rows, kRows,
                   [&](int64_t begin, int64_t end) { multiply_rows(layer.output_down, begin, end, member); });
    multiply(layer.leave, member);
    if (adapted) multiply(layer.output_up, member);
  }
  member.share(rows, kRows, [&](int64_t begin, int64_t end) { kernels_.layer_norm(last_norm_, begin, end); });
  multiply(head_, member);
}

Tensor PalmTokenReader::read(const Tensor& tokens) {
  const Tensor ids = tokens.contiguous();
  run_team([&](Member& member) { step(ids.const_data_ptr<int64_t>(), member); });
  for (int64_t& position : position_) ++position;
  return logits_;
}

}  // namespace palm
