// The parallel block of decoder.cc as one autograd node over fused kernels, with a backward written by hand: two
// products each way for the matrices, nothing concatenated or split, and of the activations only what `Recompute` says
// is kept. The plain block is its reference.
#pragma once
#include "kernels/rotary.h"
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
  Tensor sequence_start = {};  // [B, T] int64: where a token's sequence begins in its row; undefined: at 0
  KvCache* cache = nullptr;    // an empty one, where keys and values are left for decoding
  int64_t layer = 0;           // of the cache

  // Whether the kernels know such a block.
  static bool computes(const DecoderDescription& decoder) { return !decoder.qk_norm && decoder.kv_heads == 1; }

  // x [B, T, D] → [B, T, D]
  Tensor operator()(const Tensor& x) const;
  // The same without a graph; `kept`: where to put what a backward pass needs.
  Tensor forward(const Tensor& x, struct Activations* kept = nullptr) const;
};

}  // namespace palm
