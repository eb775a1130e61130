#include "model/fast/graph-token-reader.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "kernels/layer-norm.h"
#include "kernels/swiglu.h"
#include "model/kv-cache.h"
#include "model/lora.h"
#include "model/palm.h"

namespace palm {

static int64_t chunk_of(const PaLM& palm) {
  return decode_chunk(palm.config().heads, palm.config().dim_head, palm.head().element_size());
}

bool GraphTokenReader::reads(const Kernels& kernels, const PaLM& palm) {
  return kernels.decode_attention && chunk_of(palm) > 0;
}

GraphTokenReader::GraphTokenReader(const Kernels& kernels, const PaLM& palm, const Scope* scope, const KvCache& cache,
                                   int64_t samples)
    : kernels_(kernels),
      palm_(palm),
      scope_(scope),
      keys_(cache.keys().repeat_interleave(samples, 1)),
      values_(cache.values().repeat_interleave(samples, 1)),
      position_(cache.lengths().repeat_interleave(samples)) {
  const PalmConfig& config = palm.config();
  const Tensor positions = at::arange(cache.capacity(), position_.options());
  rotary_ = fold_scales(rotary_table(positions, config.dim_head, config.rotary_xpos_scale_base), config.qk_scale);
  allocate();
}

void GraphTokenReader::allocate() {
  const PalmConfig& config = palm_.config();
  const int64_t rows = position_.size(0), chunk = chunk_of(palm_);
  const int64_t chunks = (keys_.size(2) + chunk - 1) / chunk;
  tokens_ = at::zeros({rows}, position_.options());
  partial_ = at::empty({rows, chunks, config.heads, config.dim_head + 2}, keys_.options().dtype(at::kFloat));
  arrived_ = at::zeros({rows}, position_.options().dtype(at::kInt));
  graph_.reset();
  warm_ = false;
}

// Writes `out` [B, HK] from `projected` [B, HK + 2K + …], and the token's key and value into the cache.
void GraphTokenReader::attend(int64_t layer, const Tensor& projected, const Tensor& out) {
  const PalmConfig& config = palm_.config();
  const DecodeAttentionArgs args{projected.const_data_ptr(),
                                 projected.stride(0),
                                 rotary_.query_cos.const_data_ptr<float>(),
                                 rotary_.query_sin.const_data_ptr<float>(),
                                 rotary_.key_cos.const_data_ptr<float>(),
                                 rotary_.key_sin.const_data_ptr<float>(),
                                 position_.const_data_ptr<int64_t>(),
                                 keys_.select(0, layer).mutable_data_ptr(),
                                 values_.select(0, layer).mutable_data_ptr(),
                                 out.mutable_data_ptr(),
                                 out.stride(0),
                                 config.heads,
                                 config.dim_head,
                                 keys_.size(2),
                                 chunk_of(palm_),
                                 partial_.mutable_data_ptr<float>(),
                                 arrived_.mutable_data_ptr<int32_t>()};
  kernels_.decode_attention(args, 0, out.size(0));
}

Tensor GraphTokenReader::layer(int64_t index, const Tensor& x) {
  const PalmConfig& config = palm_.config();
  const ParallelBlock& block = palm_.blocks()[index];
  const auto adapters = scope_ ? std::optional(scope_->layer(index)) : std::nullopt;
  const int64_t queries = config.heads * config.dim_head, attended = queries + 2 * config.dim_head;
  const Tensor h = layer_norm_forward(kernels_, x, block.norm).y;
  const Tensor projected = at::mm(h, block.input.t());
  if (adapters) projected.narrow(1, 0, attended).add_(adapters->input(h));
  const Tensor mixed = at::empty({x.size(0), queries + config.ff()}, x.options());
  const Tensor attention = mixed.narrow(1, 0, queries);
  attend(index, projected, attention);
  swiglu_forward(kernels_, projected.narrow(1, attended, 2 * config.ff()), mixed.narrow(1, queries, config.ff()));
  Tensor y = at::addmm(x, mixed, block.output.t());
  if (adapters) y.add_(adapters->output(attention));
  return y;
}

void GraphTokenReader::compute() {
  Tensor x = at::embedding(palm_.head(), tokens_);
  for (int64_t index = 0; index < palm_.config().depth; ++index) x = layer(index, x);
  logits_ = at::linear(layer_norm_forward(kernels_, x, palm_.norm()).y, palm_.head());
}

Tensor GraphTokenReader::read(const Tensor& tokens) {
  tokens_.copy_(tokens.clamp(0, palm_.num_tokens() - 1));
  if (warm_ && !graph_) graph_ = capture(tokens_.device(), [this] { compute(); });
  graph_ ? graph_->replay() : compute();
  warm_ = true;
  position_.add_(1);
  return logits_;
}

void GraphTokenReader::keep_rows(const Tensor& rows) {
  keys_ = keys_.index_select(1, rows);
  values_ = values_.index_select(1, rows);
  position_ = position_.index_select(0, rows);
  allocate();
}

}  // namespace palm
