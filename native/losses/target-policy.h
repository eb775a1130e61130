// Target policy optimisation (Kaddour 2026): fits the policy's choice among the responses to a prompt to a target that
// prefers the better ones.
//
//   s     = Σ log_prob over a response; s_rollout likewise
//   z     = (score − mean) / std within a group, with the biased std; undivided where it is below 1e-6
//   q     = softmax(log softmax(s_rollout) + z / eta)                                     over the group
//   loss  = −Σ over groups of Σ q · log softmax(s) / denominator                          (denominator: groups)
//
// The denominator defaults to the groups of this batch, so that pieces given the count of the whole step add up to its mean.
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

struct TargetOptions {
  int64_t samples_per_prompt;  // consecutive rows that form a group
  double eta;                  // temperature of the target: smaller prefers more strongly
};

Loss target_policy_loss(const Tensor& log_prob,          // [B, T], like the next two
                        const Tensor& entropy,           //
                        const Tensor& rollout_log_prob,  //
                        const Tensor& response_mask,     // [B, T] bool
                        const Tensor& score,             // [B]
                        const TargetOptions& options, std::optional<double> denominator, std::optional<double> tokens);
// metrics: policy_loss, target_entropy (nats, mean over groups: near 0, one response has all the weight); entropy and
// approx_kl (means over response tokens, divided by `tokens`), max_log_ratio

}  // namespace palm
