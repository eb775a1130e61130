// Fused causal attention, multi-query or grouped-query, with its gradient. Its reference, model/attention.h, also supports masks, caches
// and dropout.
#pragma once
#include "kernels/attention-rows.h"
#include "kernels/kernels.h"

namespace palm {

// Writes out [B·T, HK].
AttentionState attention_forward(const Kernels& kernels, const AttentionRows& rows, const Tensor& out);

// Writes the gradients of query, key and value into `grad`, which has the layout of `rows`.
void attention_backward(const Kernels& kernels, const AttentionRows& rows, const Tensor& out,
                        const AttentionState& state, const Tensor& dout, const AttentionRows& grad);

}  // namespace palm
