#include "losses/implicit-reward.h"

#include <ATen/ops/log_sigmoid.h>

#include "base/masked.h"

namespace palm {

Tensor implicit_reward(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                       double beta) {
  return beta * within(log_prob - reference_log_prob, response_mask);
}

Loss implicit_reward_loss(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                          const Tensor& label, const ImplicitRewardOptions& options,
                          std::optional<double> denominator) {
  const Tensor reward = implicit_reward(log_prob, reference_log_prob, response_mask, options.beta);
  const Tensor sum = reward.sum(1), sign = label.to(sum.scalar_type()) * 2 - 1;
  const auto mean = [&](const Tensor& x) { return x.sum() / divisor(denominator.value_or(x.size(0))); };
  const Tensor loss = options.per_token
                          ? -masked_mean(at::log_sigmoid(reward * sign.unsqueeze(1)), response_mask, denominator)
                          : -mean(at::log_sigmoid(sum * sign));
  const Tensor side = (sum * sign).detach();
  const Tensor right = (side.gt(0).to(sum.scalar_type()) + side.ge(0).to(sum.scalar_type())) / 2;
  return {loss, {{"accuracy", right.mean()}, {"reward", sum.mean()}}};
}

}  // namespace palm
