// What a loss gives back.
#pragma once
#include "base/metrics.h"
#include "base/tensor.h"

namespace palm {

struct Loss {
  Tensor loss;  // scalar, attached
  Metrics metrics;
};

}  // namespace palm
