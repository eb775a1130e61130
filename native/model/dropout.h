// Inverted dropout (Srivastava et al. 2014) with its own generator, so that two models never share a random stream.
#pragma once
#include <ATen/core/Generator.h>
#include "base/tensor.h"

#include <optional>

namespace palm {

struct Dropout {
  double attention = 0, feed_forward = 0;
  std::optional<at::Generator> generator;  // nothing: evaluation mode, no dropout

  Tensor apply(const Tensor& x, double probability) const;
};

}  // namespace palm
