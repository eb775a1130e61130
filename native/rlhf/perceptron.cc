#include "rlhf/perceptron.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>

#include "kernels/linear.h"

namespace palm {

std::vector<NamedShape> perceptron_shapes(const std::string& prefix, int64_t dim, int64_t out) {
  return {{prefix + ".input.weight", {2 * dim, dim}},
          {prefix + ".input.bias", {2 * dim}},
          {prefix + ".output.weight", {out, 2 * dim}},
          {prefix + ".output.bias", {out}}};
}

Perceptron::Perceptron(const ParameterList& parameters, size_t first)
    : input_(parameters[first]->tensor),
      input_bias_(parameters[first + 1]->tensor),
      output_(parameters[first + 2]->tensor),
      output_bias_(parameters[first + 3]->tensor) {}

Tensor Perceptron::operator()(const Tensor& hidden) const {
  const Tensor weight = widened(input_);
  const Tensor inner = at::relu(at::linear(hidden.to(weight.scalar_type()), weight, widened(input_bias_)));
  return at::linear(inner, widened(output_), widened(output_bias_));
}

}  // namespace palm
