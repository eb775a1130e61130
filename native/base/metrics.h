// Named scalars that are copied to the host in one transfer.
#pragma once
#include "base/tensor.h"

#include <string>
#include <utility>
#include <vector>

namespace palm {

// Names follow the usual rule between the two languages: policy_loss becomes policyLoss.
struct Metrics {
  Metrics() = default;
  Metrics(std::initializer_list<std::pair<const char*, Tensor>> named);  // scalars, of any dtype, attached or not
  explicit Metrics(const std::vector<std::pair<const char*, Tensor>>& named);

  std::vector<std::string> names;
  Tensor values;  // [M] float32, detached
};

}  // namespace palm
