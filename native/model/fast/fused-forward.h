// The blocks of one forward pass over fused kernels: what all its layers share, and which fused block computes them.
#pragma once
#include <map>

#include "kernels/rotary.h"
#include "model/fast/block-tensors.h"
#include "model/fast/token-attention.h"
#include "model/kv-cache.h"

namespace palm {

class FusedForward {
 public:
  // The feature of such a decoder for which there are no fused blocks, in words; null if there are.
  static const char* unsupported(const DecoderDescription& decoder);
  // Whether they support the adapters of this scope, which may be null.
  static bool supports(const DecoderDescription& decoder, const Scope* scope);
  // Whether the kernels can hide keys as this decoder does, with several sequences in a row or without.
  static bool supports(const Kernels& kernels, const DecoderDescription& decoder, bool packed);

  FusedForward(const Kernels& kernels, const DecoderDescription& decoder,
               const Tensor& tokens,     // [B, T]
               const Tensor& positions,  // [T]
               const Tensor& segments,   // [B, T], or undefined
               KvCache* cache);          // empty, to be filled; or null
  // One token per row, for a decode step that attends itself.
  FusedForward(const Kernels& kernels, const DecoderDescription& decoder, const TokenAttention& attend)
      : kernels_(kernels), decoder_(decoder), attend_(&attend) {}

  // x [B, T, D] → [B, T, D]
  Tensor block(int64_t layer, const BlockTensors& tensors, const Tensor& x) const;

 private:
  const Kernels& kernels_;
  const DecoderDescription& decoder_;
  KvCache* cache_ = nullptr;
  const TokenAttention* attend_ = nullptr;
  // What attention over whole sequences needs.
  std::vector<RotaryTables> rotaries_;    // one per rope of the description
  std::map<int64_t, Tensor> first_keys_;  // by window: [B, T] int64, or undefined for key 0
};

}  // namespace palm
