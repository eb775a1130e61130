#include "losses/policy.h"

#include <ATen/ops/minimum.h>

namespace palm {

ClippedObjective clipped_objective(const Tensor& log_prob, const Tensor& rollout_log_prob, const Tensor& advantage,
                                   double clip_low, double clip_high) {
  // Ratios beyond e^±20 are clipped anyway; without this bound a single outlier token makes the loss infinite.
  const Tensor log_ratio = (log_prob - rollout_log_prob).clamp(-20, 20);
  const Tensor ratio = log_ratio.exp();
  const Tensor clipped = ratio.clamp(1 - clip_low, 1 + clip_high);
  return {log_ratio, ratio, at::minimum(ratio * advantage, clipped * advantage)};
}

Tensor approx_kl(const ClippedObjective& policy) { return policy.ratio - 1 - policy.log_ratio; }

Tensor max_log_ratio(const Tensor& log_prob, const Tensor& rollout_log_prob, const Tensor& response_mask) {
  return (log_prob - rollout_log_prob).masked_fill(response_mask.logical_not(), 0).abs().max();
}

}  // namespace palm
