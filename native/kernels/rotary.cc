#include "kernels/rotary.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>

#include "kernels/dispatch.h"

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

RotaryTables fold_scales(const Rotary& rotary, double query_scale) {
  const int64_t half = rotary.cos.size(-1) / 2;
  const auto front = [&](const Tensor& x) { return x.squeeze(-2).narrow(-1, 0, half); };
  const Tensor cos = front(rotary.cos), sin = front(rotary.sin);
  if (!rotary.scale.defined()) return {cos * query_scale, sin * query_scale, cos.contiguous(), sin.contiguous()};
  const Tensor scale = front(rotary.scale), up = scale * query_scale;
  return {cos * up, sin * up, cos / scale, sin / scale};
}

void rotate_rows(const Kernels& kernels, const Tensor& rows, const RotaryTables& tables, int64_t heads, bool inverse) {
  const int64_t time = tables.key_cos.size(0), head = tables.key_cos.size(1) * 2;
  const RotateArgs args{rows.mutable_data_ptr(),
                        rows.stride(0),
                        tables.query_cos.const_data_ptr<float>(),
                        tables.query_sin.const_data_ptr<float>(),
                        tables.key_cos.const_data_ptr<float>(),
                        tables.key_sin.const_data_ptr<float>(),
                        time,
                        heads,
                        head,
                        inverse};
  launch(kernels, kernels.rotate, args, rows.size(0), grain_of((heads + 1) * head));
}

}  // namespace palm
