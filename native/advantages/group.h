// Advantages without a critic: how much better a response is than the others to the same prompt (Shao et al. 2024).
//
//   reward    = score − kl_weight · Σ log_ratio over the response
//   advantage = (reward − mean) / (std + 1e-4)     over the group, with the unbiased std; without `scale` not divided
//
// It is 0 exactly where all rewards of a group are equal (their std may be rounded to more than 0), and in a group of one.
#pragma once
#include "base/metrics.h"
#include "base/tensor.h"

namespace palm {

struct GroupOptions {
  int64_t samples_per_prompt;  // rows of a group, which are neighbours
  double kl_weight;            // cost of a nat of log-ratio to the reference
  bool scale;                  // whether to divide by the deviation
};

struct GroupAdvantages {
  Tensor advantage;  // [B, T]: that of the row at every response token, 0 outside
  // kl (mean over rows of Σ log-ratio), score, reward (means), score_std (mean over groups), zero_std_share (of groups
  // whose rewards are all equal), response_length (mean), sampler_gap (largest |sampler_log_prob − rollout_log_prob|)
  Metrics metrics;
};

// [B] of reward [B].
Tensor group_advantage(const Tensor& reward, int64_t samples_per_prompt, bool scale);

GroupAdvantages group_advantages(const Tensor& sampler_log_prob,  // [B, T], as the next two
                                 const Tensor& rollout_log_prob, const Tensor& reference_log_prob,
                                 const Tensor& response_mask,  // [B, T] bool
                                 const Tensor& score,          // [B]
                                 const GroupOptions& options);

}  // namespace palm
