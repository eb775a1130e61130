// A matrix repacked for products with few rows (token-kernels.h): panels of 32 columns, depth first.
#pragma once
#include <vector>

#include "base/tensor.h"
#include "kernels/token-kernels.h"

namespace palm {

// The panels' type for weights of a dtype; int8 keeps a scale for each column, the largest weight of it being 127.
PanelType panel_type(at::ScalarType dtype, bool int8);

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Pieces [n, depth], each of which begins a new panel: row i of a piece is column i of its panels.
  PackedMatrix(const std::vector<Tensor>& pieces, PanelType type);

  Panels panels() const;
  int64_t count() const { return count_; }

 private:
  Tensor data_, scale_;
  int64_t depth_ = 0, count_ = 0, stride_ = 0;
  PanelType type_ = PanelType::float32;
};

}  // namespace palm
