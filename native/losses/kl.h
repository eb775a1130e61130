// Estimators of KL(policy ‖ reference) per token, from tokens that the policy sampled (Schulman 2020).
//
//   x = clamp(log_prob − reference_log_prob, ±20)
//
//   name       value            gradient, in expectation over what the policy samples
//   k1         x                0: as a loss it does nothing, so it belongs in the reward
//   k2         x² / 2           ∇ KL(policy ‖ reference)
//   k3         exp(−x) − 1 + x  ∇ KL(reference ‖ policy), the other direction
//   k3_plus    k3               that of k2
//   unbiased   k3 · ratio       ∇ KL(policy ‖ reference), with ratio = exp(log_prob − rollout_log_prob) (DeepSeek-V3.2)
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

enum class KlEstimator { k1, k2, k3, k3_plus, unbiased };

// [B, T]; every input too. `ratio` is used by `unbiased` alone.
Tensor kl_estimate(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& ratio,
                   KlEstimator estimator);

// Σ estimate over response tokens / denominator, by default their number. Metrics: kl.
Loss kl_loss(const Tensor& log_prob,            // [B, T], like the next two
             const Tensor& reference_log_prob,  //
             const Tensor& rollout_log_prob,    // used by `unbiased` alone
             const Tensor& response_mask,       // [B, T] bool
             KlEstimator estimator, std::optional<double> denominator);

}  // namespace palm
