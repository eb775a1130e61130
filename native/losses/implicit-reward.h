// Process rewards without step labels (Yuan et al. 2024): the log-ratio of a policy to its reference is a reward per token,
// trained by whether the whole answer is right.
//
//   reward = beta · (log_prob − reference_log_prob)                                                      (eq. 3)
//   score  = Σ reward over the response
//   loss   = −Σ over answers of [label · log σ(score) + (1 − label) · log σ(−score)] / denominator
//
// per_token: the same cross entropy for every response token's reward by itself, summed over tokens. A row with an empty response
// has loss 0 and does not count. Denominators default to the counts of this batch, so that pieces given the counts of the whole
// step add up to its mean.
#pragma once
#include "base/tensor.h"

#include <optional>

#include "losses/loss.h"

namespace palm {

struct ImplicitRewardOptions {
  double beta;
  bool per_token;
};

// rows: of losses and metrics of answers; tokens: of the loss per token.
struct ImplicitRewardDenominators {
  std::optional<double> rows, tokens, desirable, undesirable;
};

Tensor implicit_reward(const Tensor& log_prob,            // [B, T]
                       const Tensor& reference_log_prob,  // [B, T]
                       const Tensor& response_mask,       // [B, T] bool
                       double beta);                      // → [B, T], 0 outside the response

// The same, summed over each response: [B].
Tensor implicit_score(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                      double beta);

Loss implicit_reward_loss(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                          const Tensor& label,  // [B], 1 if the answer is right, 0 if it is wrong
                          const ImplicitRewardOptions& options, const ImplicitRewardDenominators& denominators);
// metrics: accuracy (share of answers on whose side of 0 the score is; 0 counts half), desirable_reward and undesirable_reward
// (mean score of right and of wrong answers)

}  // namespace palm
