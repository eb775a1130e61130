// The parallel block of decoder.cc as one autograd node over fused kernels, with a hand-written backward pass: two
// matrix products in each direction, nothing concatenated or split, and only the activations that `Recompute` selects
// are kept. Its reference is the plain block.
#pragma once
#include "kernels/rotary.h"
#include "model/fast/token-attention.h"
#include "model/lora.h"
#include "model/weights.h"

namespace palm {

class KvCache;

struct FusedBlock {
  const Kernels& kernels;
  const DecoderDescription& decoder;
  const Block& block;
  LayerAdapters adapters;
  RotaryTables rotary;
  Tensor sequence_start = {};  // [B, T] int64: where each token's sequence begins in its row; undefined: at 0
  KvCache* cache = nullptr;    // an empty cache to fill with keys and values for decoding
  int64_t layer = 0;           // index in the cache
  const TokenAttention* attend = nullptr;  // one token per row instead; without a graph

  // The feature of such a decoder's blocks that the kernels do not support, in words; null if they support all.
  static const char* unsupported(const DecoderDescription& decoder);
  static bool supports(const DecoderDescription& decoder) { return !unsupported(decoder); }

  // x [B, T, D] → [B, T, D]
  Tensor operator()(const Tensor& x) const;
  // The same without a graph; `kept` receives what a backward pass needs.
  Tensor forward(const Tensor& x, struct Activations* kept = nullptr) const;
};

}  // namespace palm
