// Advantages of REINFORCE++ (Hu 2025): whitened returns, per token, without a critic.
//
//   reward[t]  = −kl_weight · log_ratio[t] + score at the last response token                   (advantages/kl-penalty.h)
//   return[t]  = reward[t] + gamma · return[t + 1]
//   advantage  = (return − mean) / sqrt(variance + 1e-8)        over all response tokens of the batch; biased variance
//
// The advantage is exactly 0 if all returns are equal. With `group_baseline`, the mean score of the responses to a prompt is subtracted from their scores first.
#pragma once
#include "base/metrics.h"
#include "base/tensor.h"

namespace palm {

struct ReturnOptions {
  int64_t samples_per_prompt;  // consecutive rows that form a group
  double kl_weight, gamma;
  bool group_baseline;
};

struct ReturnAdvantages {
  Tensor advantage, returns;  // [B, T], 0 outside the response
  // kl (mean over rows of Σ log-ratio), score (mean), reward (mean over rows of Σ reward, before any baseline),
  // response_length (mean), sampler_gap (max |sampler_log_prob − rollout_log_prob|)
  Metrics metrics;
};

ReturnAdvantages return_advantages(const Tensor& sampler_log_prob,  // [B, T], like the next two
                                   const Tensor& rollout_log_prob, const Tensor& reference_log_prob,
                                   const Tensor& response_mask,  // [B, T] bool
                                   const Tensor& score,          // [B]
                                   const ReturnOptions& options);

}  // namespace palm
