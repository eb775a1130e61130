#include "model/token-reader.h"

#include <ATen/ops/tensor.h>

#include <algorithm>

namespace palm {

Tensor rows_kept(const std::vector<int64_t>& slots, const std::vector<int64_t>& kept,
                 const at::TensorOptions& options) {
  std::vector<int64_t> rows;
  for (const int64_t slot : kept) rows.push_back(std::ranges::lower_bound(slots, slot) - slots.begin());
  return at::tensor(rows, options);
}

}  // namespace palm
