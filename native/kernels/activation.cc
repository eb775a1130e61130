#include "kernels/activation.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>

#include "kernels/dispatch.h"

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

void activation_forward(const Kernels& kernels, Activation activation, const Tensor& x, const Tensor& y) {
  const ActivationArgs args{.x = x.const_data_ptr(),
                            .x_stride = x.stride(0),
                            .y = y.mutable_data_ptr(),
                            .y_stride = y.stride(0),
                            .width = y.size(1),
                            .activation = activation,
                            .gated = x.size(1) != y.size(1)};
  launch(kernels, kernels.activation, args, y.size(0), grain_of(y.size(1)));
}

void activation_backward(const Kernels& kernels, Activation activation, const Tensor& x, const Tensor& dy,
                         const Tensor& dx, const Tensor& y) {
  const ActivationGradArgs args{.x = x.const_data_ptr(),
                                .x_stride = x.stride(0),
                                .dy = dy.const_data_ptr(),
                                .dy_stride = dy.stride(0),
                                .dx = dx.mutable_data_ptr(),
                                .dx_stride = dx.stride(0),
                                .y = y.defined() ? y.mutable_data_ptr() : nullptr,
                                .y_stride = y.defined() ? y.stride(0) : 0,
                                .width = dy.size(1),
                                .activation = activation,
                                .gated = x.size(1) != dy.size(1)};
  launch(kernels, kernels.activation_grad, args, dy.size(0), grain_of(dy.size(1)));
}

}  // namespace palm
