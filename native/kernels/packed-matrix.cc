#include "kernels/packed-matrix.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

namespace palm {

PanelType panel_type(at::ScalarType dtype, bool int8) {
  if (int8) return PanelType::int8;
  return dtype == at::kBFloat16 ? PanelType::bfloat16 : PanelType::float32;
}

static at::ScalarType dtype_of(PanelType type) {
  return type == PanelType::int8 ? at::kChar : type == PanelType::bfloat16 ? at::kBFloat16 : at::kFloat;
}

// Up to 32 rows of a piece, which become the columns of one panel.
struct PanelSource {
  Tensor rows;  // [n, depth]
};

template <class T>
static void copy_panel(T* to, const Tensor& rows, bool pairs) {
  const T* const from = static_cast<const T*>(rows.const_data_ptr());
  const int64_t count = rows.size(0), depth = rows.size(1), row = rows.stride(0), column = rows.stride(1);
  constexpr int64_t kRun = 32;  // depth per pass: the written part of the panel stays in the cache
  for (int64_t first = 0; first < depth; first += kRun)
    for (int64_t c = 0; c < count; ++c)
      for (int64_t k = first; k < std::min(depth, first + kRun); ++k)
        to[panel_index(pairs, k, c)] = from[c * row + k * column];
}

template <class T>
static void round_panel(int8_t* to, float* scale, const Tensor& rows) {
  const T* const from = static_cast<const T*>(rows.const_data_ptr());
  const int64_t depth = rows.size(1), row = rows.stride(0), column = rows.stride(1);
  for (int64_t c = 0; c < rows.size(0); ++c) {
    const auto at = [&](int64_t k) { return static_cast<float>(from[c * row + k * column]); };
    float largest = 0;
    for (int64_t k = 0; k < depth; ++k) largest = std::max(largest, std::abs(at(k)));
    scale[c] = largest / 127;
    const float inverse = largest > 0 ? 127 / largest : 0;
    for (int64_t k = 0; k < depth; ++k)
      to[panel_index(false, k, c)] = static_cast<int8_t>(std::nearbyint(at(k) * inverse));
  }
}

PackedMatrix::PackedMatrix(const std::vector<Tensor>& pieces, PanelType type)
    : depth_(pieces.front().size(1)), stride_(panel_depth(type == PanelType::bfloat16, depth_) * kPanel), type_(type) {
  std::vector<Tensor> sources;
  for (const Tensor& piece : pieces)
    for (int64_t first = 0; first < piece.size(0); first += kPanel)
      sources.push_back(piece.detach().narrow(0, first, std::min(kPanel, piece.size(0) - first)));
  count_ = static_cast<int64_t>(sources.size());
  data_ = at::zeros({count_ * stride_}, at::TensorOptions(dtype_of(type)));
  if (type == PanelType::int8) scale_ = at::zeros({count_ * kPanel}, at::TensorOptions(at::kFloat));
  at::parallel_for(0, count_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Tensor& rows = sources[i];
      const bool bfloat16 = rows.scalar_type() == at::kBFloat16;
      if (type == PanelType::bfloat16) {
        copy_panel(data_.mutable_data_ptr<at::BFloat16>() + i * stride_, rows, true);
      } else if (type == PanelType::float32) {
        copy_panel(data_.mutable_data_ptr<float>() + i * stride_, rows, false);
      } else {
        int8_t* const to = data_.mutable_data_ptr<int8_t>() + i * stride_;
        float* const scale = scale_.mutable_data_ptr<float>() + i * kPanel;
        bfloat16 ? round_panel<at::BFloat16>(to, scale, rows) : round_panel<float>(to, scale, rows);
      }
    }
  });
}

void PackedMatrix::add_bias(const std::vector<Tensor>& pieces) {
  bias_ = at::zeros({count_ * kPanel}, at::TensorOptions(at::kFloat));
  int64_t panel = 0;
  for (const Tensor& piece : pieces) {
    bias_.narrow(0, panel * kPanel, piece.size(0)).copy_(piece);
    panel += panels_of(piece.size(0));
  }
}

Panels PackedMatrix::panels() const {
  const auto numbers = [](const Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; };
  return {data_.const_data_ptr(), numbers(scale_), numbers(bias_), depth_, count_, stride_, type_};
}

}  // namespace palm
