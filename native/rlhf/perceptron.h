// A head with one hidden layer that is twice as wide as the model: D → 2D → ReLU → out.
#pragma once
#include "base/parameter.h"

namespace palm {

// The parameters of a perceptron whose names start with `prefix`, in the order that the constructor takes them.
std::vector<NamedShape> perceptron_shapes(const std::string& prefix, int64_t dim, int64_t out);

class Perceptron {
 public:
  // Four parameters of a buffer, from `first` on.
  Perceptron(const ParameterList& parameters, size_t first);

  // hidden [..., D] → [..., out], in float32, or float64 for float64 weights.
  Tensor operator()(const Tensor& hidden) const;

 private:
  Tensor input_, input_bias_;    // [2D, D], [2D]
  Tensor output_, output_bias_;  // [out, 2D], [out]
};

}  // namespace palm
