// The clipped surrogate objective of policy gradients (Schulman et al. 2017, eq. 7), per token.
//
//   ratio     = exp(log_prob − rollout_log_prob)
//   objective = min(ratio · advantage, clamp(ratio, 1 − clip_low, 1 + clip_high) · advantage)
#pragma once
#include "base/tensor.h"

namespace palm {

struct ClippedObjective {
  Tensor log_ratio;  // [B, T], clamped to ±20
  Tensor ratio;      // [B, T]
  Tensor objective;  // [B, T], to be maximised
};

ClippedObjective clipped_objective(const Tensor& log_prob,          // [B, T]
                                   const Tensor& rollout_log_prob,  // [B, T]
                                   const Tensor& advantage,         // [B, T]
                                   double clip_low, double clip_high);

// The k3 estimator (Schulman 2020) of KL(rollout ‖ current policy) per token; it is never negative.
Tensor approx_kl(const ClippedObjective& policy);

// Max |log_prob − rollout_log_prob| over response tokens, a scalar.
Tensor max_log_ratio(const Tensor& log_prob, const Tensor& rollout_log_prob, const Tensor& response_mask);

}  // namespace palm
