#include "losses/implicit-reward.h"

#include <ATen/ops/log_sigmoid.h>

#include "base/masked.h"

namespace palm {

Tensor implicit_reward(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                       double beta) {
  return beta * within(log_prob - reference_log_prob, response_mask);
}

Tensor implicit_score(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                      double beta) {
  return implicit_reward(log_prob, reference_log_prob, response_mask, beta).sum(1);
}

Loss implicit_reward_loss(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                          const Tensor& label, const ImplicitRewardOptions& options,
                          const ImplicitRewardDenominators& denominators) {
  const Tensor reward = implicit_reward(log_prob, reference_log_prob, response_mask, options.beta);
  const Tensor score = reward.sum(1), sign = label.to(score.scalar_type()) * 2 - 1;
  const Tensor counted = response_mask.any(1), desirable = label.gt(0);
  const Tensor loss =
      options.per_token ? -masked_mean(at::log_sigmoid(reward * sign.unsqueeze(1)), response_mask, denominators.tokens)
                        : -masked_mean(at::log_sigmoid(score * sign), counted, denominators.rows);
  const Tensor side = (score * sign).detach();
  const Tensor right = (side.gt(0).to(score.scalar_type()) + side.ge(0).to(score.scalar_type())) / 2;
  return {loss,
          {{"accuracy", masked_mean(right, counted, denominators.rows)},
           {"desirable_reward", masked_mean(score, counted & desirable, denominators.desirable)},
           {"undesirable_reward", masked_mean(score, counted & desirable.logical_not(), denominators.undesirable)}}};
}

}  // namespace palm
