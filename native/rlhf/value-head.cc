#include "rlhf/value-head.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/linear.h>

#include "base/shape.h"
#include "kernels/linear.h"

namespace palm {

static std::vector<NamedShape> shapes(const ModelShape& shape, const std::optional<Histogram>& histogram) {
  if (histogram) check_histogram(*histogram);
  const int64_t outputs = histogram ? histogram->bins : 1;
  const std::vector<NamedShape> all = {{"value_head.weight", {outputs, shape.dim}}, {"value_head.bias", {outputs}}};
  check_fits_in_memory(all, 1, "ActorCritic");
  return all;
}

ValueHead::ValueHead(const ModelShape& shape, const std::optional<Histogram>& histogram)
    : histogram_(histogram),
      buffer_(shapes(shape, histogram), shape.options.dtype().toScalarType(), shape.options.device()),
      weight_(buffer_.parameters()[0]->tensor),
      bias_(buffer_.parameters()[1]->tensor) {}

void ValueHead::initialise() {
  at::NoGradGuard no_grad;
  weight_.zero_();
  bias_.zero_();
}

Value ValueHead::operator()(const Tensor& hidden) const {
  const Tensor weight = widened(weight_), predicting = hidden.narrow(1, 0, hidden.size(1) - 1);
  const Tensor read = at::linear(predicting.to(weight.scalar_type()), weight, widened(bias_));
  if (!histogram_) return {shifted_right(read.reshape({-1}), hidden.size(0)), {}};
  const Tensor expected = histogram_value(read, *histogram_);
  return {shifted_right(expected.reshape({-1}), hidden.size(0)), at::constant_pad_nd(read, {0, 0, 1, 0})};
}

}  // namespace palm
