#include "kernels/swiglu.h"

#include <ATen/ops/silu.h>

#include "kernels/dispatch.h"

namespace palm {

Tensor swiglu(const Tensor& x) {
  const auto halves = x.chunk(2, -1);
  return at::silu(halves[1]) * halves[0];
}

void swiglu_forward(const Kernels& kernels, const Tensor& x, const Tensor& y) {
  const SwigluArgs args{x.const_data_ptr(), x.stride(0), y.mutable_data_ptr(), y.stride(0), y.size(1)};
  launch(kernels, kernels.swiglu, args, y.size(0), grain_of(y.size(1)));
}

void swiglu_backward(const Kernels& kernels, const Tensor& x, const Tensor& dy, const Tensor& dx,
                     const std::optional<Tensor>& y) {
  const SwigluGradArgs args{x.const_data_ptr(),
                            x.stride(0),
                            dy.const_data_ptr(),
                            dy.stride(0),
                            dx.mutable_data_ptr(),
                            dx.stride(0),
                            y ? y->mutable_data_ptr() : nullptr,
                            y ? y->stride(0) : 0,
                            dy.size(1)};
  launch(kernels, kernels.swiglu_grad, args, dy.size(0), grain_of(dy.size(1)));
}

}  // namespace palm
