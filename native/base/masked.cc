#include "base/masked.h"

#include <ATen/ops/ones_like.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"

namespace palm {

// NaN·0 is NaN: values outside the mask must be replaced, not multiplied by 0.
Tensor within(const Tensor& values, const Tensor& mask) { return values.masked_fill(mask.logical_not(), 0); }

double divisor(double denominator) {
  if (!std::isfinite(denominator) || denominator < 0)
    throw Error(ErrorKind::argument, "denominator", std::to_string(denominator), "a finite number >= 0");
  return denominator == 0 ? 1 : denominator;
}

Tensor masked_mean(const Tensor& values, const Tensor& mask, std::optional<double> denominator) {
  const Tensor total = within(values, mask).sum();
  return denominator ? total / divisor(*denominator) : total / mask.sum().clamp_min(1);
}

Tensor masked_mean_rows(const Tensor& values, const Tensor& mask) {
  const Tensor wide = values.dim() == 3 ? mask.unsqueeze(-1) : mask;
  return within(values, wide).sum(1) / wide.sum(1).clamp_min(1);
}

Tensor masked_variance(const Tensor& values, const Tensor& mask) {
  return masked_mean((values - masked_mean(values, mask, {})).square(), mask, {});
}

Tensor by_group(const Tensor& values, int64_t samples_per_prompt) {
  if (samples_per_prompt < 1 || values.size(0) % samples_per_prompt != 0)
    throw Error(ErrorKind::argument, "samplesPerPrompt", std::to_string(samples_per_prompt),
                "a divisor of the number of rows, " + std::to_string(values.size(0)));
  return values.view({-1, samples_per_prompt});
}

Tensor whiten(const Tensor& values, const Tensor& mask) {
  const Tensor all = mask.defined() ? mask : at::ones_like(values, at::kBool);
  const Tensor centred = values - masked_mean(values, all, {});
  const Tensor whitened = within(centred * masked_variance(values, all).clamp_min(1e-8).rsqrt(), all);
  if (values.numel() == 0) return whitened;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Tensor outside = all.logical_not();
  const Tensor largest = centred.masked_fill(outside, -kInfinity).max(),
               smallest = centred.masked_fill(outside, kInfinity).min();
  return whitened.masked_fill(largest.eq(smallest), 0);
}

}  // namespace palm
