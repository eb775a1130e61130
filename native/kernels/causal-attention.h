// Fused causal multi-query attention with its gradient; model/attention.h is the reference, which also serves masks,
// caches and dropout.
#pragma once
#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

// Where queries, keys and values lie: rows of one matrix, as the input projection left them (turned and scaled).
struct AttentionRows {
  Tensor query;  // [B·T, HK]
  Tensor key;    // [B·T, K]
  Tensor value;  // [B·T, K]
  int64_t batch, heads;
};

// Writes out [B·T, HK]; gives the logsumexp of every query's scores [B·T, H] float32.
Tensor attention_forward(const Kernels& kernels, const AttentionRows& rows, const Tensor& out);

// Writes the gradients of query, key and value into `grad`, which is laid out like `rows`.
void attention_backward(const Kernels& kernels, const AttentionRows& rows, const Tensor& out, const Tensor& lse,
                        const Tensor& dout, const AttentionRows& grad);

}  // namespace palm
