#include "losses/sft.h"

#include "base/masked.h"

namespace palm {

Loss sft_loss(const Tensor& log_prob, const Tensor& entropy, const Tensor& right, const Tensor& mask, SftKind kind,
              std::optional<double> denominator) {
  const auto mean = [&](const Tensor& x) { return masked_mean(x, mask, denominator); };
  const Tensor known = within(log_prob, mask);
  const Tensor loss = -mean(kind == SftKind::dft ? known.detach().exp() * known : known);
  return {loss, {{"entropy", mean(entropy)}, {"token_accuracy", mean(right.to(log_prob.scalar_type()))}}};
}

}  // namespace palm
