#include "losses/ppo.h"

#include <ATen/ops/minimum.h>

#include "base/masked.h"
#include "losses/value.h"

namespace palm {

Loss ppo_loss(const Tensor& log_prob, const Tensor& entropy, const Tensor& value, const Tensor& rollout_log_prob,
              const Tensor& rollout_value, const Tensor& advantage, const Tensor& returns, const Tensor& response_mask,
              const PpoOptions& options, std::optional<double> denominator) {
  const auto mean = [&](const Tensor& x) { return masked_mean(x, response_mask, denominator); };
  // Beyond e^±20 a ratio is clipped anyway; without this bound one wild token makes the loss infinite.
  const Tensor log_ratio = (log_prob - rollout_log_prob).clamp(-20, 20);
  const Tensor ratio = log_ratio.exp();
  const Tensor clipped = ratio.clamp(1 - options.clip, 1 + options.clip);
  const Tensor policy_loss = -mean(at::minimum(ratio * advantage, clipped * advantage));
  const Tensor value_error = clipped_value_error(value, rollout_value, returns, options.value_clip);
  const Tensor value_loss = mean(value_error);
  const Tensor mean_entropy = mean(entropy);
  const Tensor loss = policy_loss + options.value_weight * value_loss - options.entropy_weight * mean_entropy;

  const auto share = [&](const Tensor& x) { return mean(x.to(log_prob.scalar_type())); };
  const Tensor gap = (log_prob - rollout_log_prob).masked_fill(response_mask.logical_not(), 0).abs();
  return {loss,
          {{"policy_loss", policy_loss},
           {"value_loss", value_loss},
           {"entropy", mean_entropy},
           {"approx_kl", mean(ratio - 1 - log_ratio)},
           {"clip_fraction", share((ratio - 1).abs().gt(options.clip))},
           {"value_clip_fraction", share((value - rollout_value).abs().gt(options.value_clip))},
           {"max_log_ratio", gap.max()}}};
}

}  // namespace palm
