// Numbers by name that cross to the host in one copy.
#pragma once
#include "base/tensor.h"

#include <string>
#include <utility>
#include <vector>

namespace palm {

// Names are those of the two languages: policy_loss is policyLoss.
struct Metrics {
  Metrics() = default;
  Metrics(std::initializer_list<std::pair<const char*, Tensor>> named);  // scalars, of any dtype, attached or not

  std::vector<std::string> names;
  Tensor values;  // [M] float32, detached
};

}  // namespace palm
