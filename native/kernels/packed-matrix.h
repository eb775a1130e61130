// A matrix repacked for products with few rows (token-kernels.h): panels of 32 columns, depth-major.
#pragma once
#include <vector>

#include "base/tensor.h"
#include "kernels/token-kernels.h"

namespace palm {

// The panel type for weights of a dtype. int8 stores one scale per column, so that the column's largest weight maps to
// 127.
PanelType panel_type(at::ScalarType dtype, bool int8);

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Each piece [n, depth] starts a new panel: row i of a piece becomes column i of its panels.
  PackedMatrix(const std::vector<Tensor>& pieces, PanelType type);

  // Products add these numbers, one for each row of the pieces.
  void add_bias(const std::vector<Tensor>& pieces);  // [n] each

  Panels panels() const;
  int64_t count() const { return count_; }

 private:
  Tensor data_, scale_, bias_;
  int64_t depth_ = 0, count_ = 0, stride_ = 0;
  PanelType type_ = PanelType::float32;
};

}  // namespace palm
