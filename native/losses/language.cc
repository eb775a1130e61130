#include "losses/language.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>

namespace palm {

Tensor language_loss(const Tensor& hidden, const Tensor& head, const Tensor& target, const Tensor& mask,
                     int64_t ignore_index, std::optional<double> denominator) {
  Tensor wanted = target.ne(ignore_index) & target.ge(0);
  if (mask.defined()) wanted = wanted & mask;
  constexpr int64_t kIgnored = -100;
  const Tensor labels = target.masked_fill(wanted.logical_not(), kIgnored);
  Tensor logits = at::linear(hidden, head).flatten(0, 1);
  if (logits.scalar_type() == at::kBFloat16) logits = logits.to(at::kFloat);
  const Tensor total = at::cross_entropy_loss(logits, labels.flatten(), {}, at::Reduction::Sum, kIgnored);
  return denominator ? total / *denominator : total / wanted.sum().clamp_min(1);
}

}  // namespace palm
