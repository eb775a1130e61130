#include "model/fast/graph-decode-step.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "model/fast/features.h"

namespace palm {

static int64_t chunk_of(const DecoderDescription& decoder) {
  return decode_chunk(decoder.heads / decoder.kv_heads, decoder.dim_head,
                      static_cast<int64_t>(at::elementSize(decoder.dtype)));
}

const char* GraphDecodeStep::unsupported(const DecoderDescription& decoder) {
  return first_present({{!decoder.causal, "attention to later tokens"},
                        {chunk_of(decoder) == 0, "groups of query heads that shared memory cannot hold"}});
}

GraphDecodeStep::GraphDecodeStep(const Kernels& kernels, const DecoderDescription& decoder, Forward forward,
                                 const KvCache& cache, int64_t samples)
    : kernels_(kernels),
      decoder_(decoder),
      forward_(std::move(forward)),
      keys_(cache.keys().repeat_interleave(samples, 1)),
      values_(cache.values().repeat_interleave(samples, 1)),
      position_(cache.lengths().repeat_interleave(samples)) {
  rotaries_ = rotary_tables(decoder, at::arange(cache.capacity(), position_.options()));
  if (!decoder.alibi.empty()) alibi_ = at::tensor(decoder.alibi, position_.options().dtype(at::kFloat));
  allocate();
}

void GraphDecodeStep::allocate() {
  const int64_t rows = position_.size(0), chunks = decode_chunks(keys_.size(3), chunk_of(decoder_), /*window=*/0);
  tokens_ = at::zeros({rows}, position_.options());
  partial_ = at::empty({rows, chunks, decoder_.heads, decoder_.dim_head + 2}, keys_.options().dtype(at::kFloat));
  arrived_ = at::zeros({rows, decoder_.kv_heads}, position_.options().dtype(at::kInt));
  graph_.reset();
  warm_ = false;
}

static const float* floats_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

void GraphDecodeStep::attend(int64_t layer, const Tensor& query, const Tensor& key, const Tensor& value,
                             const Tensor& out) const {
  const LayerDescription& own = decoder_.layer(layer);
  const RotaryTables rotary = own.rope < 0 ? RotaryTables{} : rotaries_[own.rope];
  const int64_t chunk = chunk_of(decoder_);
  const DecodeAttentionArgs args{.query = query.const_data_ptr(),
                                 .key = key.const_data_ptr(),
                                 .value = value.const_data_ptr(),
                                 .query_stride = query.stride(0),
                                 .key_stride = key.stride(0),
                                 .value_stride = value.stride(0),
                                 .turned = own.rope < 0 ? 0 : decoder_.ropes[own.rope].width(),
                                 .query_cos = floats_of(rotary.query_cos),
                                 .query_sin = floats_of(rotary.query_sin),
                                 .key_cos = floats_of(rotary.key_cos),
                                 .key_sin = floats_of(rotary.key_sin),
                                 .position = position_.const_data_ptr<int64_t>(),
                                 .keys = keys_.select(0, layer).mutable_data_ptr(),
                                 .values = values_.select(0, layer).mutable_data_ptr(),
                                 .out = out.mutable_data_ptr(),
                                 .out_stride = out.stride(0),
                                 .heads = decoder_.heads,
                                 .kv_heads = decoder_.kv_heads,
                                 .head = decoder_.dim_head,
                                 .capacity = keys_.size(3),
                                 .window = own.window,
                                 .scale = static_cast<float>(remaining_scale(decoder_, layer)),
                                 .softcap = static_cast<float>(decoder_.softcap.value_or(0)),
                                 .alibi = floats_of(alibi_),
                                 .alibi_rounded = decoder_.alibi_rounded,
                                 .chunk = chunk,
                                 .chunks = decode_chunks(keys_.size(3), chunk, own.window),
                                 .partial = partial_.mutable_data_ptr<float>(),
                                 .arrived = arrived_.mutable_data_ptr<int32_t>()};
  kernels_.decode_attention(args, 0, out.size(0));
}

void GraphDecodeStep::compute() {
  logits_ = forward_(tokens_, position_,
                     [this](int64_t layer, const Tensor& query, const Tensor& key, const Tensor& value,
                            const Tensor& out) { attend(layer, query, key, value, out); });
}

Tensor GraphDecodeStep::next_logits(const Tensor& tokens) {
  tokens_.copy_(tokens.clamp(0, decoder_.used_tokens - 1));
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
