// Inputs and saved state of fused attention, for our kernel as well as libtorch's.
#pragma once
#include <ATen/SDPBackend.h>

#include "base/tensor.h"

namespace palm {

// Queries, keys and values, already rotated: column ranges of the matrix that the input projection wrote, or of others.
struct AttentionRows {
  Tensor query;  // [B·T, HK]
  Tensor key;    // [B·T, KvK]
  Tensor value;  // [B·T, KvK]
  int64_t batch, heads, kv_heads;
  double scale;           // of the scores, > 0
  Tensor first_key = {};  // [B, T] int64: the first key each token attends to, non-decreasing along T; undefined: 0
};

// What the backward pass needs in addition to the rows and the output.
struct AttentionState {
  // float32 logsumexp of each query's scores: [B·T, H] from our kernel, [B, H, T] or longer from libtorch's
  Tensor lse;
  // For libtorch's kernels only: the backend, its random state, and whether it used the key heads or H copies.
  at::SDPBackend backend = at::SDPBackend::error;
  Tensor seed, offset;
  Tensor out;  // [B·T, HK] contiguous, the kernel's own output if it has this layout
  bool shared_keys = true;
};

}  // namespace palm
