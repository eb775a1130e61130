#include "model/fast/graph-reader.h"

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

const char* GraphReader::unsupported(const DecoderDescription& decoder) {
  return first_present({{!decoder.causal, "attention to later tokens"},
                        {chunk_of(decoder) == 0, "groups of query heads that shared memory cannot hold"}});
}

GraphReader::GraphReader(const Kernels& kernels, const DecoderDescription& decoder, Forward forward,
                         const KvCache& cache, int64_t samples)
    : kernels_(kernels),
      decoder_(decoder),
      forward_(std::move(forward)),
      keys_(cache.keys().repeat_interleave(samples, 1)),
      values_(cache.values().repeat_interleave(samples, 1)),
      position_(cache.lengths().repeat_interleave(samples)),
      slots_(position_.size(0)) {
  std::iota(slots_.begin(), slots_.end(), 0);
  rotaries_ = rotary_tables(decoder, at::arange(cache.capacity(), position_.options()));
  if (!decoder.alibi.empty()) alibi_ = at::tensor(decoder.alibi, position_.options().dtype(at::kFloat));
  allocate();
}

void GraphReader::allocate() {
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

void GraphReader::attend(int64_t layer, const Tensor& query, const Tensor& key, const Tensor& value,
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

void GraphReader::compute(const Scope* scope) {
  logits_ = forward_(scope, tokens_, position_,
                     [this](int64_t layer, const Tensor& query, const Tensor& key, const Tensor& value,
                            const Tensor& out) { attend(layer, query, key, value, out); });
}

Tensor GraphReader::read(const Scope* scope, const TokenRows& rows) {
  if (rows.slot != slots_) keep(rows.slot);
  tokens_.copy_(rows.token);
  if (warm_ && !graph_) graph_ = capture(tokens_.device(), [&] { compute(scope); });
  graph_ ? graph_->replay() : compute(scope);
  warm_ = true;
  position_.add_(1);
  return logits_;
}

// Keeps only the rows of these slots.
void GraphReader::keep(const std::vector<int64_t>& slots) {
  const Tensor index = rows_kept(slots_, slots, position_.options());
  keys_ = keys_.index_select(1, index);
  values_ = values_.index_select(1, index);
  position_ = position_.index_select(0, index);
  slots_ = slots;
  allocate();
}

}  // namespace palm
