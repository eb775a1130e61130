// SwiGLU (Shazeer 2020): silu(gate) · value, where the value is the FIRST half of the last axis and the gate the
// second.
#pragma once
#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

Tensor swiglu(const Tensor& x);  // [..., 2F] → [..., F]

// The fused kernel and its gradient. Rows may be apart: parts of wider matrices.
void swiglu_forward(const Kernels& kernels,
                    const Tensor& x,   // [M, 2F]
                    const Tensor& y);  // [M, F], written
void swiglu_backward(const Kernels& kernels, const Tensor& x,
                     const Tensor& dy,                      // [M, F]
                     const Tensor& dx,                      // [M, 2F], written
                     const std::optional<Tensor>& y = {});  // [M, F], written like swiglu_forward's; may be dy

}  // namespace palm
