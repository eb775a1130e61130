#include "losses/rating.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/cross_entropy_loss.h>

#include "base/masked.h"

namespace palm {

static double rows(const Tensor& label, std::optional<double> denominator) {
  return divisor(denominator.value_or(static_cast<double>(label.size(0))));
}

Tensor regression_loss(const Tensor& prediction, const Tensor& label, std::optional<double> denominator) {
  return (prediction - label).square().sum() / rows(label, denominator);
}

Tensor classification_loss(const Tensor& logits, const Tensor& label, std::optional<double> denominator) {
  return at::cross_entropy_loss(logits, label, {}, at::Reduction::Sum) / rows(label, denominator);
}

}  // namespace palm
