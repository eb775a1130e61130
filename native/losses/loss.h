// The result of a loss function.
#pragma once
#include "base/metrics.h"
#include "base/tensor.h"

namespace palm {

struct Loss {
  Tensor loss;  // scalar, attached to the graph
  Metrics metrics;
};

}  // namespace palm
