#include "rlhf/value-head.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>

#include "base/shape.h"
#include "kernels/linear.h"

namespace palm {

ValueHead::ValueHead(const ModelShape& shape)
    : buffer_({{"value_head.weight", {1, shape.dim}}, {"value_head.bias", {1}}}, shape.options.dtype().toScalarType(),
              shape.options.device()),
      weight_(buffer_.parameters()[0]->tensor),
      bias_(buffer_.parameters()[1]->tensor) {}

void ValueHead::initialise() {
  at::NoGradGuard no_grad;
  weight_.zero_();
  bias_.zero_();
}

Tensor ValueHead::operator()(const Tensor& hidden) const {
  const Tensor weight = widened(weight_), predicting = hidden.narrow(1, 0, hidden.size(1) - 1);
  const Tensor value = at::linear(predicting.to(weight.scalar_type()), weight, widened(bias_));
  return shifted_right(value.reshape({-1}), hidden.size(0));
}

}  // namespace palm
