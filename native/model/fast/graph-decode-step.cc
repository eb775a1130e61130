#include "model/fast/graph-decode-step.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "kernels/activation.h"
#include "kernels/norm.h"
#include "model/fast/features.h"
#include "model/fast/fused-block.h"
#include "model/fast/fused-forward.h"

namespace palm {

static int64_t chunk_of(const DecoderDescription& decoder) {
  return decode_chunk(decoder.heads, decoder.dim_head, static_cast<int64_t>(at::elementSize(decoder.dtype)));
}

const char* GraphDecodeStep::unsupported(const DecoderDescription& decoder) {
  const char* const of_blocks = FusedBlock::unsupported(decoder);
  return of_blocks ? of_blocks
                   : first_present({{!decoder.causal, "attention to later tokens"},
                                    {decoder.positions.has_value(), "learned positions"},
                                    {decoder.embedding_norm, "norms of embeddings"},
                                    {decoder.embedding_scale != 1, "a scale of embeddings"},
                                    {decoder.narrow_embedding(), "narrow embeddings"},
                                    {!decoder.final_norm, "no norm before the head"}});
}

bool GraphDecodeStep::supports(const Kernels& kernels, const DecoderDescription& decoder, const Scope* scope) {
  return kernels.decode_attention && !unsupported(decoder) && FusedForward::supports(decoder, scope) &&
         chunk_of(decoder) > 0;
}

// The single key (or value) head of the cache as [L, B, capacity, K], with each row repeated `samples` times.
static Tensor repeated(const Tensor& cached, int64_t samples) {
  return cached.select(2, 0).repeat_interleave(samples, 1);
}

GraphDecodeStep::GraphDecodeStep(const Kernels& kernels, const DecoderWeights& weights, const Scope* scope,
                                 const KvCache& cache, int64_t samples)
    : kernels_(kernels),
      weights_(weights),
      scope_(scope),
      keys_(repeated(cache.keys(), samples)),
      values_(repeated(cache.values(), samples)),
      position_(cache.lengths().repeat_interleave(samples)) {
  const Tensor positions = at::arange(cache.capacity(), position_.options());
  rotary_ = fold_scales(rotary_table(positions, decoder().ropes.front()), decoder().layers.front().scale);
  allocate();
}

void GraphDecodeStep::allocate() {
  const int64_t rows = position_.size(0), chunk = chunk_of(decoder());
  const int64_t chunks = (keys_.size(2) + chunk - 1) / chunk;
  tokens_ = at::zeros({rows}, position_.options());
  partial_ = at::empty({rows, chunks, decoder().heads, decoder().dim_head + 2}, keys_.options().dtype(at::kFloat));
  arrived_ = at::zeros({rows}, position_.options().dtype(at::kInt));
  graph_.reset();
  warm_ = false;
}

// Writes `out` [B, HK], computed from `projected` [B, HK + 2K + …], and adds the token's key and value to the cache.
void GraphDecodeStep::attend(int64_t layer, const Tensor& projected, const Tensor& out) {
  const DecodeAttentionArgs args{.projected = projected.const_data_ptr(),
                                 .projected_stride = projected.stride(0),
                                 .query_cos = rotary_.query_cos.const_data_ptr<float>(),
                                 .query_sin = rotary_.query_sin.const_data_ptr<float>(),
                                 .key_cos = rotary_.key_cos.const_data_ptr<float>(),
                                 .key_sin = rotary_.key_sin.const_data_ptr<float>(),
                                 .position = position_.const_data_ptr<int64_t>(),
                                 .keys = keys_.select(0, layer).mutable_data_ptr(),
                                 .values = values_.select(0, layer).mutable_data_ptr(),
                                 .out = out.mutable_data_ptr(),
                                 .out_stride = out.stride(0),
                                 .heads = decoder().heads,
                                 .head = decoder().dim_head,
                                 .capacity = keys_.size(2),
                                 .chunk = chunk_of(decoder()),
                                 .partial = partial_.mutable_data_ptr<float>(),
                                 .arrived = arrived_.mutable_data_ptr<int32_t>()};
  kernels_.decode_attention(args, 0, out.size(0));
}

Tensor GraphDecodeStep::layer(int64_t index, const Tensor& x) {
  const Block& block = weights_.blocks()[index];
  const LayerAdapters adapters = scope_ ? scope_->layer(index) : LayerAdapters{};
  const int64_t queries = decoder().query_width(), attended = decoder().qkv_width();
  const Tensor h = norm_forward(kernels_, x, block.norm, decoder().norm).y;
  const Tensor projected = at::mm(h, block.input.t());
  if (const Tensor added = adapters.added(h, 0, attended); added.defined())
    projected.narrow(1, 0, attended).add_(added);
  const Tensor block_hidden = at::empty({x.size(0), decoder().hidden_width()}, x.options());
  attend(index, projected, block_hidden.narrow(1, 0, queries));
  activation_forward(kernels_, Activation::silu, projected.narrow(1, attended, 2 * decoder().ff),
                     block_hidden.narrow(1, queries, decoder().ff));
  Tensor y = at::addmm(x, block_hidden, block.output.t());
  for (const Adapter& adapter : adapters.output) y.add_(adapter(block_hidden.narrow(1, adapter.first, adapter.count)));
  return y;
}

void GraphDecodeStep::compute() {
  Tensor x = at::embedding(weights_.outer().token_embedding, tokens_);
  for (int64_t index = 0; index < decoder().depth; ++index) x = layer(index, x);
  logits_ = weights_.head().logits(norm_forward(kernels_, x, weights_.outer().norm, decoder().norm).y);
}

Tensor GraphDecodeStep::next_logits(const Tensor& tokens) {
  tokens_.copy_(tokens.clamp(0, decoder().used_tokens - 1));
  if (warm_ && !graph_) graph_ = capture(tokens_.device(), [this] { compute(); });
  graph_ ? graph_->replay() : compute();
  warm_ = true;
  position_.add_(1);
  return logits_;
}

void GraphDecodeStep::keep_rows(const Tensor& rows) {
  keys_ = keys_.index_select(1, rows);
  values_ = values_.index_select(1, rows);
  position_ = position_.index_select(0, rows);
  allocate();
}

}  // namespace palm
