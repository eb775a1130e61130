// The clipped surrogate objective of policy gradients (Schulman et al. 2017, eq. 7), token by token.
//
//   ratio     = exp(log_prob − rollout_log_prob)
//   objective = min(ratio · advantage, clamp(ratio, 1 − clip_low, 1 + clip_high) · advantage)
#pragma once
#include "base/tensor.h"

namespace palm {

struct ClippedObjective {
  Tensor log_ratio;  // [B, T], within ±20
  Tensor ratio;      // [B, T]
  Tensor objective;  // [B, T], to be maximised
};

ClippedObjective clipped_objective(const Tensor& log_prob,          // [B, T]
                                   const Tensor& rollout_log_prob,  // [B, T]
                                   const Tensor& advantage,         // [B, T]
                                   double clip_low, double clip_high);

// Per token, k3 of Schulman 2020: an estimate of KL(rollout ‖ now) that is never negative.
Tensor approx_kl(const ClippedObjective& policy);

// Largest |log_prob − rollout_log_prob| of response tokens, a scalar.
Tensor max_log_ratio(const Tensor& log_prob, const Tensor& rollout_log_prob, const Tensor& response_mask);

}  // namespace palm
