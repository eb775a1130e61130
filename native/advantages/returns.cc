#include "advantages/returns.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include "advantages/gae.h"
#include "advantages/kl-penalty.h"
#include "base/masked.h"
#include "base/shape.h"

namespace palm {

ReturnAdvantages return_advantages(const Tensor& sampler_log_prob, const Tensor& rollout_log_prob,
                                   const Tensor& reference_log_prob, const Tensor& response_mask, const Tensor& score,
                                   const ReturnOptions& options) {
  at::NoGradGuard no_grad;
  expect_shape(score, "score", {response_mask.size(0)});
  const Tensor given = score.to(rollout_log_prob.options());
  const Tensor log_ratio = within(rollout_log_prob - reference_log_prob, response_mask);
  const Tensor group = by_group(given, options.samples_per_prompt);
  const Tensor centred = options.group_baseline ? (group - group.mean(1, /*keepdim=*/true)).flatten() : given;
  const Tensor reward = kl_shaped_reward(log_ratio, centred, response_mask, options.kl_weight);
  // Without values and with lambda 1, the estimate of GAE is the discounted sum of the rewards to come.
  const Tensor returns = gae(reward, at::zeros_like(reward), response_mask, options.gamma, /*lambda=*/1);
  const Tensor kl = log_ratio.sum(1), variance = masked_variance(returns, response_mask);
  const Tensor damped = (variance.clamp_min(1e-8) / (variance + 1e-8)).sqrt();  // from max(variance, 1e-8) to the sum
  return {whiten(returns, response_mask) * damped,
          returns,
          {{"kl", kl.mean()},
           {"score", given.mean()},
           {"reward", (given - options.kl_weight * kl).mean()},
           {"response_length", response_mask.sum(1).to(given.scalar_type()).mean()},
           {"sampler_gap", within(sampler_log_prob - rollout_log_prob, response_mask).abs().max()}}};
}

}  // namespace palm
