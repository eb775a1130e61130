// Causal multi-query attention through libtorch's own fused kernels, for devices without one of ours (CUDA): cuDNN,
// FlashAttention or memory-efficient attention, whichever libtorch prefers; otherwise plain products.
#pragma once
#include <string>

#include "kernels/attention-rows.h"

namespace palm {

AttentionState library_attention_forward(const AttentionRows& rows, const Tensor& out);
void library_attention_backward(const AttentionRows& rows, const Tensor& out, const AttentionState& state,
                                const Tensor& dout, const AttentionRows& grad);

// The backend that would compute attention for such tensors: cudnn, flash, efficient or math. Tries a typical training
// shape.
std::string attention_backend_name(const at::TensorOptions& options);

}  // namespace palm
