#include "losses/kl.h"

#include "base/masked.h"

namespace palm {

Tensor kl_estimate(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& ratio,
                   KlEstimator estimator) {
  const Tensor x = (log_prob - reference_log_prob).clamp(-20, 20);
  const auto k2 = [&] { return x.square() / 2; };
  const auto k3 = [&] { return (-x).exp() - 1 + x; };
  switch (estimator) {
    case KlEstimator::k1:
      return x;
    case KlEstimator::k2:
      return k2();
    case KlEstimator::k3:
      return k3();
    case KlEstimator::k3_plus: {
      const Tensor guide = k2();
      return guide + (k3() - guide).detach();
    }
    case KlEstimator::unbiased:
      return k3() * ratio;
  }
  return x;
}

Loss kl_loss(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& rollout_log_prob,
             const Tensor& response_mask, KlEstimator estimator, std::optional<double> denominator) {
  const Tensor now = within(log_prob, response_mask), reference = within(reference_log_prob, response_mask);
  const Tensor ratio = (now - within(rollout_log_prob, response_mask)).clamp(-20, 20).exp();
  const Tensor loss = masked_mean(kl_estimate(now, reference, ratio, estimator), response_mask, denominator);
  return {loss, {{"kl", loss}}};
}

}  // namespace palm
