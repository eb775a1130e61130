// Advantages without a critic: how much better a response is than the other responses to the same prompt (Shao et al.
// 2024).
//
//   reward    = score − kl_weight · Σ log_ratio over the response
//   advantage = (reward − mean) / (std + 1e-4)     over the group, with the unbiased std; undivided if `scale` is false
//
// It is exactly 0 if all rewards of a group are equal (rounding could make their std positive), and in a group of one.
#pragma once
#include "base/metrics.h"
#include "base/tensor.h"

namespace palm {

struct GroupOptions {
  int64_t samples_per_prompt;  // consecutive rows that form a group
  double kl_weight;            // penalty per nat of log-ratio to the reference
  bool scale;                  // whether to divide by the standard deviation
};

struct GroupAdvantages {
  Tensor advantage;  // [B, T]: the row's advantage at every response token, 0 elsewhere
  // kl (mean over rows of Σ log-ratio), score, reward (means), score_std (mean over groups), zero_std_share (share of
  // groups whose rewards are all equal), response_length (mean), sampler_gap
  // (max |sampler_log_prob − rollout_log_prob|)
  Metrics metrics;
};

// reward [B] → [B]
Tensor group_advantage(const Tensor& reward, int64_t samples_per_prompt, bool scale);

GroupAdvantages group_advantages(const Tensor& sampler_log_prob,  // [B, T], like the next two
                                 const Tensor& rollout_log_prob, const Tensor& reference_log_prob,
                                 const Tensor& response_mask,  // [B, T] bool
                                 const Tensor& score,          // [B]
                                 const GroupOptions& options);

}  // namespace palm
