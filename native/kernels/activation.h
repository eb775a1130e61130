// The activations of feed-forward layers.
#pragma once
#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

// silu       x σ(x)
// gelu       x Φ(x), exact
// gelu_tanh  x Φ(x), Φ approximated by tanh (Hendrycks & Gimpel 2016)
// relu       max(x, 0)
Tensor activate(const Tensor& x, Activation activation);

// The feed-forward between its two products: activation(gate) · up of rows [..., up | gate] if gated (Shazeer 2020),
// else activation(up).
Tensor feed_forward(const Tensor& projected, Activation activation, bool gated);  // [..., F or 2F] → [..., F]

// The fused kernel and its gradient. Rows may be strided, such as column ranges of wider matrices; they are gated if
// those of x are twice as wide.
void activation_forward(const Kernels& kernels, Activation activation,
                        const Tensor& x,   // [M, F or 2F]
                        const Tensor& y);  // [M, F], written
void activation_backward(const Kernels& kernels, Activation activation, const Tensor& x,
                         const Tensor& dy,       // [M, F]
                         const Tensor& dx,       // like x, written
                         const Tensor& y = {});  // [M, F], receives the forward output again; may be dy

}  // namespace palm
