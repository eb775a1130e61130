// The sequential pre-norm block of decoder.cc as one autograd node over fused kernels, with a hand-written backward
// pass that keeps only the activations that `Recompute` selects. Its reference is the plain block.
//
//   m = x + attention(norm x) · outputᵀ + bias        columns of `output`: attention
//   y = m + feed-forward(norm m) · outputᵀ + bias     columns of `output`: feed-forward
#pragma once
#include "kernels/rotary.h"
#include "model/fast/block-tensors.h"
#include "model/fast/token-attention.h"

namespace palm {

class KvCache;

struct SequentialBlock {
  const Kernels& kernels;
  const DecoderDescription& decoder;
  BlockTensors tensors;
  double scale;                            // of the scores
  RotaryTables rotary = {};                // undefined: this layer has no rotary positions
  Tensor first_key = {};                   // [B, T] int64: the first key each token attends to; undefined: 0
  KvCache* cache = nullptr;                // an empty cache to fill with keys and values for decoding
  int64_t layer = 0;                       // index in the cache
  const TokenAttention* attend = nullptr;  // one token per row instead; without a graph

  // The feature of such a decoder's blocks that the kernels do not support, in words; null if they support all.
  static const char* unsupported(const DecoderDescription& decoder);

  // x [B, T, D] → [B, T, D]
  Tensor operator()(const Tensor& x) const;
  // The same without a graph; `kept` receives what a backward pass needs.
  Tensor forward(const Tensor& x, struct SequentialActivations* kept = nullptr) const;
};

}  // namespace palm
