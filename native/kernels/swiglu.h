// SwiGLU (Shazeer 2020): silu(gate) · value, where the FIRST half of the last axis is the value and the second half is
// the gate.
#pragma once
#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

// The fused kernel and its gradient; their reference is `feed_forward` in activation.h. Rows may be strided, such as
// column ranges of wider matrices.
void swiglu_forward(const Kernels& kernels,
                    const Tensor& x,   // [M, 2F]
                    const Tensor& y);  // [M, F], written
void swiglu_backward(const Kernels& kernels, const Tensor& x,
                     const Tensor& dy,                      // [M, F]
                     const Tensor& dx,                      // [M, 2F], written
                     const std::optional<Tensor>& y = {});  // [M, F], receives the forward output again; may be dy

}  // namespace palm
