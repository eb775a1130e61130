#include "losses/language.h"

#include "base/masked.h"
#include "kernels/token-log-prob.h"

namespace palm {

Tensor language_loss(const Tensor& hidden, const Tensor& head, const Tensor& target, const Tensor& mask,
                     int64_t ignore_index, std::optional<double> denominator) {
  Tensor wanted = target.ne(ignore_index) & target.ge(0);
  if (mask.defined()) wanted = wanted & mask;
  const Tensor labels = target.masked_fill(wanted.logical_not(), -1);
  const Tensor total = linear_cross_entropy(hidden.flatten(0, 1), head, labels.flatten());
  return denominator ? total / divisor(*denominator) : total / wanted.sum().clamp_min(1);
}

}  // namespace palm
