// What fused attention reads and keeps, whoever computes it: our kernel or libtorch's.
#pragma once
#include <ATen/SDPBackend.h>

#include "base/tensor.h"

namespace palm {

// Where queries, keys and values lie: rows of one matrix, as the input projection left them (turned and scaled).
struct AttentionRows {
  Tensor query;  // [B·T, HK]
  Tensor key;    // [B·T, K]
  Tensor value;  // [B·T, K]
  int64_t batch, heads;
  Tensor first_key = {};  // [B, T] int64: where the keys begin that a token sees, growing along T; undefined: at 0
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

}  // namespace palm
