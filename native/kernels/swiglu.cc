#include "kernels/swiglu.h"

#include "kernels/dispatch.h"

namespace palm {

void swiglu_forward(const Kernels& kernels, const Tensor& x, const Tensor& y) {
  const SwigluArgs args{.x = x.const_data_ptr(),
                        .x_stride = x.stride(0),
                        .y = y.mutable_data_ptr(),
                        .y_stride = y.stride(0),
                        .width = y.size(1)};
  launch(kernels, kernels.swiglu, args, y.size(0), grain_of(y.size(1)));
}

void swiglu_backward(const Kernels& kernels, const Tensor& x, const Tensor& dy, const Tensor& dx,
                     const std::optional<Tensor>& y) {
  const SwigluGradArgs args{.x = x.const_data_ptr(),
                            .x_stride = x.stride(0),
                            .dy = dy.const_data_ptr(),
                            .dy_stride = dy.stride(0),
                            .dx = dx.mutable_data_ptr(),
                            .dx_stride = dx.stride(0),
                            .y = y ? y->mutable_data_ptr() : nullptr,
                            .y_stride = y ? y->stride(0) : 0,
                            .width = dy.size(1)};
  launch(kernels, kernels.swiglu_grad, args, dy.size(0), grain_of(dy.size(1)));
}

}  // namespace palm
