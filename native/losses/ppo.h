// Clipped surrogate objective of PPO (Schulman et al. 2017, eq. 7), with a clipped value loss and an entropy bonus.
//
//   policy_loss = −mean objective, with a dual clip if there is one                               (losses/policy.h)
//   value_loss  = mean clipped error of the value, or error of a histogram             (losses/value.h, histogram.h)
//   loss        = policy_loss + value_weight · value_loss − entropy_weight · mean entropy
//
// Means are over response tokens: sums divided by `denominator`, by default the number of response tokens in the batch.
#pragma once
#include <optional>

#include "losses/histogram.h"
#include "losses/loss.h"

namespace palm {

struct PpoOptions {
  double clip;        // the ratio is clipped to 1 ± clip
  double value_clip;  // the value is clipped to rollout_value ± value_clip; not with a histogram
  double value_weight;
  double entropy_weight;
  std::optional<double> dual_clip;
  std::optional<Histogram> histogram;
};

Loss ppo_loss(const Tensor& log_prob,          // [B, T]
              const Tensor& entropy,           // [B, T]
              const Tensor& value,             // [B, T]; with a histogram, its logits [B, T, bins]
              const Tensor& rollout_log_prob,  // [B, T]
              const Tensor& rollout_value,     // [B, T]
              const Tensor& advantage,         // [B, T]
              const Tensor& returns,           // [B, T]
              const Tensor& response_mask,     // [B, T] bool
              const PpoOptions& options, std::optional<double> denominator);
// metrics: policy_loss, value_loss, entropy, approx_kl (k3 estimate of KL(rollout ‖ current policy), Schulman 2020),
// clip_fraction (share of tokens whose ratio left 1 ± clip), value_clip_fraction or with a histogram
// value_beyond_share (share of returns beyond its edges), max_log_ratio (max |log_prob − rollout_log_prob|)

}  // namespace palm
