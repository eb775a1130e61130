// The norm over all gradients, and what one optimizer step derives from it. Stays on the device.
#pragma once
#include "base/tensor.h"

#include <optional>
#include <vector>

namespace palm {

struct GradNorm {
  Tensor each;     // [N], the 2-norm of each gradient
  Tensor norm;     // scalar float32, the norm over all gradients before clipping
  Tensor divisor;  // scalar float32: gradients are divided by max(1, (norm + 1e-6) / max_norm) (Pascanu et al. 2013)
  Tensor broken;   // scalar float32: 1 if the divided norm or its square is not finite, which skips the step; else 0
};

GradNorm grad_norm(const std::vector<Tensor>& gradients, std::optional<double> max_norm);

}  // namespace palm
