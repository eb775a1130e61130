// Fused causal multi-query attention with its gradient; model/attention.h is the reference, which also serves masks,
// caches and dropout.
#pragma once
#include <ATen/SDPBackend.h>

#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

// Where queries, keys and values lie: rows of one matrix, as the input projection left them (turned and scaled).
struct AttentionRows {
  Tensor query;  // [B·T, HK]
  Tensor key;    // [B·T, K]
  Tensor value;  // [B·T, K]
  int64_t batch, heads;
  Tensor first = {};  // [B, T] int64: the first key that a token sees, growing along T; undefined: its row's first
};

// What the backward pass needs besides the rows and the output.
struct AttentionState {
  Tensor lse;  // float32 logsumexp of every query's scores: [B·T, H] of our kernel, [B, H, T] or longer of libtorch's
  // Of libtorch's kernels only: which one it was, its random state, and whether it read one head of keys or H copies.
  at::SDPBackend backend = at::SDPBackend::error;
  Tensor seed, offset;
  Tensor out;  // [B·T, HK] contiguous, as the kernel gave it, where it did
  bool shared_keys = true;
};

// Writes out [B·T, HK].
AttentionState attention_forward(const Kernels& kernels, const AttentionRows& rows, const Tensor& out);

// Writes the gradients of query, key and value into `grad`, which is laid out like `rows`.
void attention_backward(const Kernels& kernels, const AttentionRows& rows, const Tensor& out,
                        const AttentionState& state, const Tensor& dout, const AttentionRows& grad);

}  // namespace palm
