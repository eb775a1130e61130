// Process rewards without step labels (Yuan et al. 2024): the log-ratio of a policy to its reference is a reward per token,
// trained by whether the whole answer is right.
//
//   reward = beta · (log_prob − reference_log_prob)                                                      (eq. 3)
//   loss   = −Σ over answers of [label · log σ(Σ reward) + (1 − label) · log σ(−Σ reward)] / denominator
//
// per_token: the same cross entropy for every response token's reward by itself, summed over tokens. The denominator defaults
// to the number of answers (per_token: of response tokens).
#pragma once
#include "base/tensor.h"

#include <optional>

#include "losses/loss.h"

namespace palm {

struct ImplicitRewardOptions {
  double beta;
  bool per_token;
};

Tensor implicit_reward(const Tensor& log_prob,            // [B, T]
                       const Tensor& reference_log_prob,  // [B, T]
                       const Tensor& response_mask,       // [B, T] bool
                       double beta);                      // → [B, T], 0 outside the response

Loss implicit_reward_loss(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                          const Tensor& label,  // [B], 1 if the answer is right, 0 if it is wrong
                          const ImplicitRewardOptions& options, std::optional<double> denominator);
// metrics, means over the answers given: accuracy (share of answers on whose side of 0 Σ reward is; 0 counts half), reward
// (mean Σ reward)

}  // namespace palm
