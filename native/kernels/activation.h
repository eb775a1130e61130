// The activations of feed-forward layers.
#pragma once
#include "base/tensor.h"

namespace palm {

enum class Activation {
  silu,       // x σ(x)
  gelu,       // x Φ(x), exact
  gelu_tanh,  // x Φ(x), Φ approximated by tanh (Hendrycks & Gimpel 2016)
  relu,
};

Tensor activate(const Tensor& x, Activation activation);

// The feed-forward between its two products: activation(gate) · up of rows [..., up | gate] if gated, else
// activation(up).
Tensor feed_forward(const Tensor& projected, Activation activation, bool gated);  // [..., F or 2F] → [..., F]

}  // namespace palm
