#include "kernels/rotary.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>

namespace palm {

Rotary rotary_table(const Tensor& positions, int64_t dim_head, std::optional<double> scale_base, double centre) {
  const Tensor even = at::arange(0, dim_head, 2, at::TensorOptions(at::kFloat).device(positions.device()));
  const Tensor frequency = at::pow(10000.0, even / -static_cast<double>(dim_head));
  const Tensor time = positions.to(at::kFloat).unsqueeze(-1);
  const Tensor half = time * frequency;
  const Tensor angle = at::cat({half, half}, -1).unsqueeze(-2);
  Rotary rotary{angle.cos(), angle.sin(), {}};
  if (scale_base) {
    const Tensor zeta = (even + 0.4 * dim_head) / (1.4 * dim_head);
    const Tensor power = at::pow(zeta, (time - centre) / *scale_base);
    rotary.scale = at::cat({power, power}, -1).unsqueeze(-2);
  }
  return rotary;
}

static Tensor rotated(const Tensor& x, const Rotary& rotary) {
  const auto halves = x.chunk(2, -1);
  return x * rotary.cos + at::cat({-halves[1], halves[0]}, -1) * rotary.sin;
}

Tensor rotate_query(const Tensor& query, const Rotary& rotary) {
  const Tensor turned = rotated(query, rotary);
  return (rotary.scale.defined() ? turned * rotary.scale : turned).to(query.scalar_type());
}

Tensor rotate_key(const Tensor& key, const Rotary& rotary) {
  const Tensor turned = rotated(key, rotary);
  return (rotary.scale.defined() ? turned / rotary.scale : turned).to(key.scalar_type());
}

}  // namespace palm
