#include "model/fast/fused-forward.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/maximum.h>

#include <algorithm>

#include "model/fast/fused-block.h"
#include "model/fast/rotary-tables.h"
#include "model/fast/sequential-block.h"
#include "model/segments.h"

namespace palm {

const char* FusedForward::unsupported(const DecoderDescription& decoder) {
  if (!decoder.causal) return "attention to later tokens";
  return decoder.parallel ? FusedBlock::unsupported(decoder) : SequentialBlock::unsupported(decoder);
}

bool FusedForward::supports(const DecoderDescription& decoder, const Scope* scope) {
  return !scope || !decoder.parallel || scope->within({"query", "key", "value", "query_key_value", "output"});
}

bool FusedForward::supports(const Kernels& kernels, const DecoderDescription& decoder, bool packed) {
  const auto is_windowed = [](const LayerDescription& layer) { return layer.window != 0; };
  return kernels.attention || !(packed || std::ranges::any_of(decoder.layers, is_windowed));
}

// The first key that each token attends to [B, T], given where its sequence starts.
static Tensor first_key(const Tensor& tokens, const Tensor& starts, int64_t window) {
  if (window == 0) return starts;
  const Tensor first = (at::arange(tokens.size(1), tokens.options()) - (window - 1)).clamp_min(0);
  return starts.defined() ? at::maximum(starts, first) : first.expand(tokens.sizes()).contiguous();
}

FusedForward::FusedForward(const Kernels& kernels, const DecoderDescription& decoder, const Tensor& tokens,
                           const Tensor& positions, const Tensor& segments, KvCache* cache)
    : kernels_(kernels), decoder_(decoder), cache_(cache), rotaries_(rotary_tables(decoder, positions)) {
  const Tensor starts = segments.defined() ? sequence_start(segments) : Tensor();
  for (const LayerDescription& layer : decoder.layers)
    if (!first_keys_.contains(layer.window)) first_keys_[layer.window] = first_key(tokens, starts, layer.window);
}

Tensor FusedForward::block(int64_t layer, const BlockTensors& tensors, const Tensor& x) const {
  const LayerDescription& own = decoder_.layer(layer);
  const RotaryTables rotary = attend_ || own.rope < 0 ? RotaryTables{} : rotaries_[own.rope];
  const Tensor first_key = attend_ ? Tensor() : first_keys_.at(own.window);
  if (decoder_.parallel)
    return FusedBlock{.kernels = kernels_,
                      .decoder = decoder_,
                      .block = tensors.block,
                      .adapters = tensors.adapters,
                      .rotary = rotary,
                      .sequence_start = first_key,
                      .cache = cache_,
                      .layer = layer,
                      .attend = attend_}(x);
  return SequentialBlock{.kernels = kernels_,
                         .decoder = decoder_,
                         .tensors = tensors,
                         .scale = own.scale,
                         .rotary = rotary,
                         .first_key = first_key,
                         .cache = cache_,
                         .layer = layer,
                         .attend = attend_}(x);
}

}  // namespace palm
