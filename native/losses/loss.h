// What a loss gives back: a scalar to differentiate, and a few detached numbers by name.
#pragma once
#include "base/tensor.h"

#include <string>
#include <utility>
#include <vector>

namespace palm {

// Scalars that cross to the host in one copy. `names` are those of the two languages: policy_loss is policyLoss.
struct Metrics {
  Metrics() = default;
  Metrics(std::initializer_list<std::pair<const char*, Tensor>> named);

  std::vector<std::string> names;
  Tensor values;  // [M] float32, detached
};

struct Loss {
  Tensor loss;  // scalar, attached
  Metrics metrics;
};

}  // namespace palm
