#include "advantages/ppo.h"

#include <ATen/core/grad_mode.h>

#include "advantages/gae.h"
#include "advantages/kl-penalty.h"
#include "base/masked.h"
#include "base/shape.h"

namespace palm {

PpoAdvantages ppo_advantages(const Tensor& sampler_log_prob, const Tensor& rollout_log_prob,
                             const Tensor& reference_log_prob, const Tensor& rollout_value, const Tensor& response_mask,
                             const Tensor& score, const Tensor& dense, const PpoAdvantageOptions& options) {
  at::NoGradGuard no_grad;
  expect_shape(score, "score", {response_mask.size(0)});
  const Tensor given = score.to(rollout_value.options());
  const Tensor log_ratio = within(rollout_log_prob - reference_log_prob, response_mask);
  PpoAdvantages out;
  out.reward = kl_shaped_reward(log_ratio, given, response_mask, options.kl_weight);
  if (dense.defined()) out.reward = out.reward + within(dense.to(given.options()), response_mask);
  out.advantage = gae(out.reward, rollout_value, response_mask, options.gamma, options.lambda);
  out.returns = within(out.advantage + rollout_value, response_mask);
  if (options.length_adaptive) {
    const Tensor lambda = length_adaptive_lambda(response_mask, *options.length_adaptive, given.scalar_type());
    out.advantage = gae(out.reward, rollout_value, response_mask, options.gamma, lambda);
  }

  const Tensor rows = response_mask.any(1);
  const auto mean = [&](const Tensor& of_row) { return masked_mean(of_row, rows, {}); };
  const Tensor unexplained = masked_variance(out.returns - rollout_value, response_mask);
  const Tensor explained = 1 - unexplained / masked_variance(out.returns, response_mask).clamp_min(1e-8);
  out.metrics = {{"kl", mean(log_ratio.sum(1))},
                 {"score", mean(given)},
                 {"reward", mean(out.reward.sum(1))},
                 {"explained_variance", explained},
                 {"response_length", mean(response_mask.sum(1).to(given.scalar_type()))},
                 {"sampler_gap", within(sampler_log_prob - rollout_log_prob, response_mask).abs().max()}};
  if (options.whiten) out.advantage = whiten(out.advantage, response_mask);
  return out;
}

}  // namespace palm
