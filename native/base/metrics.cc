#include "base/metrics.h"

#include <ATen/ops/stack.h>

namespace palm {

Metrics::Metrics(std::initializer_list<std::pair<const char*, Tensor>> named)
    : Metrics(std::vector<std::pair<const char*, Tensor>>(named)) {}

Metrics::Metrics(const std::vector<std::pair<const char*, Tensor>>& named) {
  std::vector<Tensor> scalars;
  for (const auto& [name, scalar] : named) {
    names.push_back(name);
    scalars.push_back(scalar);
  }
  values = at::stack(scalars).detach().to(at::kFloat);
}

}  // namespace palm
