// FlowRL (Zhu et al. 2025): fits the policy to the reference, weighted by exp(beta · score), so that worse responses keep a
// share. It is the trajectory balance of a flow network, whose total flow Z(x) is learned beside the policy.
//
//   r        = (score − mean) / (std + 1e-6) within a group, with the unbiased std
//   balance  = log_partition + mean log_prob − beta · r − mean reference_log_prob          (means over the response)
//   ratio    = exp(mean (log_prob − rollout_log_prob))
//   weight   = stop_gradient(clamp(ratio, 1 − clip_low, 1 + clip_high))
//   loss     = Σ over rows of weight · balance² / denominator                              (denominator: rows)
//
// The denominator defaults to the rows of this batch, so that pieces given the count of the whole step add up to its mean. A
// row without response tokens counts for nothing.
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

struct FlowrlOptions {
  int64_t samples_per_prompt;  // consecutive rows that form a group
  double beta;                 // how much a standard deviation of the scores counts, in nats per token
  double clip_low, clip_high;
};

struct FlowrlInputs {
  Tensor log_prob, entropy;                     // [B, T], now
  Tensor log_partition;                         // [B]: log Z of the row's prompt
  Tensor rollout_log_prob, reference_log_prob;  // [B, T]
  Tensor response_mask;                         // [B, T] bool
  Tensor score;                                 // [B]
};

Loss flowrl_loss(const FlowrlInputs& inputs, const FlowrlOptions& options, std::optional<double> denominator,
                 std::optional<double> tokens);
// metrics: policy_loss; means over rows, averaged like the loss: balance, log_partition, weight, clip_fraction (share of rows
// whose ratio is clipped); entropy and approx_kl (means over response tokens, divided by `tokens`), max_log_ratio

}  // namespace palm
