// Inverted dropout (Srivastava et al. 2014) with a generator of its own, so that two models never share a stream.
#pragma once
#include <ATen/core/Generator.h>
#include "base/tensor.h"

#include <optional>

namespace palm {

struct Dropout {
  double attention = 0, feed_forward = 0;
  std::optional<at::Generator> generator;  // nothing: evaluation, no dropout at all

  Tensor apply(const Tensor& x, double probability) const;
};

}  // namespace palm
