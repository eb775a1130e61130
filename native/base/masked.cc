#include "base/masked.h"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace palm {

// NaN·0 is NaN: what stands behind a false mask must be removed, not multiplied away.
static Tensor kept(const Tensor& values, const Tensor& mask) { return at::where(mask, values, at::zeros_like(values)); }

Tensor masked_mean(const Tensor& values, const Tensor& mask, std::optional<double> denominator) {
  const Tensor total = kept(values, mask).sum();
  return denominator ? total / *denominator : total / mask.sum().clamp_min(1);
}

Tensor masked_mean_rows(const Tensor& values, const Tensor& mask) {
  const Tensor wide = values.dim() == 3 ? mask.unsqueeze(-1) : mask;
  return kept(values, wide).sum(1) / wide.sum(1).clamp_min(1);
}

Tensor masked_variance(const Tensor& values, const Tensor& mask) {
  return masked_mean((values - masked_mean(values, mask, {})).square(), mask, {});
}

Tensor whiten(const Tensor& values, const Tensor& mask) {
  const Tensor all = mask.defined() ? mask : at::ones_like(values, at::kBool);
  const Tensor centred = values - masked_mean(values, all, {});
  return kept(centred * masked_variance(values, all).clamp_min(1e-5).rsqrt(), all);
}

}  // namespace palm
