#include "losses/off-policy.h"

#include <ATen/core/grad_mode.h>

#include "base/masked.h"

namespace palm {

static Tensor outside(const Tensor& ratio, double min, double max) { return ratio.lt(min) | ratio.gt(max); }

Tensor off_policy_weight(const Tensor& rollout_log_prob, const Tensor& sampler_log_prob, const Tensor& response_mask,
                         const CorrectionOptions& options) {
  at::NoGradGuard no_grad;
  const auto exp = [](const Tensor& log_ratio) { return log_ratio.clamp(-20, 20).exp(); };
  const double min = options.min.value_or(0);
  const Tensor log_ratio = within(rollout_log_prob - sampler_log_prob, response_mask);
  const Tensor token = exp(log_ratio), product = exp(log_ratio.sum(1, /*keepdim=*/true));
  const auto weight = [&]() -> Tensor {
    switch (options.mode) {
      case Correction::token_truncate:
        return token.clamp(min, options.max);
      case Correction::token_mask:
        return token.masked_fill(outside(token, min, options.max), 0);
      case Correction::sequence_truncate:
        return product.clamp_max(options.max);
      case Correction::sequence_mask:
        return product.masked_fill(product.gt(options.max), 0);
      case Correction::geometric_mask: {
        const Tensor mean = exp(masked_mean_rows(log_ratio, response_mask)).unsqueeze(1);
        return token.masked_fill(outside(mean, min, options.max), 0);
      }
    }
    return token;
  };
  return within(weight().expand_as(response_mask), response_mask);
}

}  // namespace palm
