#include "losses/language.h"

#include "base/masked.h"

namespace palm {

Tensor language_labels(const Tensor& target, const Tensor& mask, int64_t ignore_index) {
  Tensor wanted = target.ne(ignore_index) & target.ge(0);
  if (mask.defined()) wanted = wanted & mask;
  return target.masked_fill(wanted.logical_not(), -1);
}

Tensor language_loss(const Tensor& total, const Tensor& labels, std::optional<double> denominator) {
  return denominator ? total / divisor(*denominator) : total / labels.ge(0).sum().clamp_min(1);
}

}  // namespace palm
