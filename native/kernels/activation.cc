#include "kernels/activation.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>

namespace palm {

Tensor activate(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    default:
      return at::relu(x);
  }
}

Tensor feed_forward(const Tensor& projected, Activation activation, bool gated) {
  if (!gated) return activate(projected, activation);
  const auto halves = projected.chunk(2, -1);
  return activate(halves[1], activation) * halves[0];
}

}  // namespace palm
