// Group relative policy optimisation (Shao et al. 2024): the clipped objective of losses/policy.h with one advantage for
// all tokens of a response, averaged in one of two ways.
//
//   token_mean:  loss = −Σ objective over response tokens / denominator      (DAPO, Yu et al. 2025; denominator: tokens)
//   row_mean:    loss = −Σ over rows of mean objective over the response / denominator       (the paper; denominator: rows)
//
// Denominators default to the tokens or rows of this batch, so that pieces given the count of the whole step add up to
// its mean. A row without response tokens counts for nothing.
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

enum class Aggregation { token_mean, row_mean };

struct GrpoOptions {
  double clip_low, clip_high;  // the ratio is clipped to 1 − clip_low … 1 + clip_high
  Aggregation aggregation;
};

Loss grpo_loss(const Tensor& log_prob,          // [B, T]
               const Tensor& entropy,           // [B, T]
               const Tensor& rollout_log_prob,  // [B, T]
               const Tensor& advantage,         // [B, T]
               const Tensor& response_mask,     // [B, T] bool
               const GrpoOptions& options, std::optional<double> denominator);
// metrics, averaged like the loss: policy_loss, entropy, approx_kl (k3 of Schulman 2020), clip_fraction, clipped_low and
// clipped_high (shares of tokens whose objective the clip holds, below and above), max_log_ratio

}  // namespace palm
