// Clipped surrogate objective of PPO (Schulman et al. 2017, eq. 7), with a clipped value loss and an entropy bonus.
//
//   ratio       = exp(log_prob − rollout_log_prob)
//   policy_loss = −mean of min(ratio · advantage, clamp(ratio, 1 ± clip) · advantage)
//   value_loss  = ½ mean of max((value − returns)², (rollout_value ± value_clip − returns)²)       (losses/value.h)
//   loss        = policy_loss + value_weight · value_loss − entropy_weight · mean entropy
//
// Means are over response tokens: sums divided by `denominator`, which defaults to the number of response tokens given.
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

struct PpoOptions {
  double clip;        // of the ratio, around 1
  double value_clip;  // of the value, around the rollout's
  double value_weight;
  double entropy_weight;
};

Loss ppo_loss(const Tensor& log_prob,          // [B, T]
              const Tensor& entropy,           // [B, T]
              const Tensor& value,             // [B, T]
              const Tensor& rollout_log_prob,  // [B, T]
              const Tensor& rollout_value,     // [B, T]
              const Tensor& advantage,         // [B, T]
              const Tensor& returns,           // [B, T]
              const Tensor& response_mask,     // [B, T] bool
              const PpoOptions& options, std::optional<double> denominator);
// metrics: policy_loss, value_loss, entropy, approx_kl (k3 estimate of KL(rollout ‖ now), Schulman 2020), clip_fraction
// (share of tokens whose ratio left 1 ± clip), value_clip_fraction, max_log_ratio (largest |log_prob − rollout_log_prob|)

}  // namespace palm
