// The loss of policy gradients, from log-probabilities now and at the rollout, and an advantage per token. It serves every
// method that learns from its own answers.
//
//   ratio = exp(clamp(log_prob − rollout_log_prob, ±20))           level token: per token
//           exp of the mean (sequence_mean, GSPO: Zheng et al. 2025) or the sum (sequence_sum, RLOO) over the response
//
//   clip   objective = min(min(ratio, ratio_max) · A, clamp(ratio, 1 − clip_low, 1 + clip_high) · A)
//                                                                  PPO (Schulman et al. 2017, eq. 7)
//          where A < 0 and there is a dual_clip: at least dual_clip · A                            (Ye et al. 2020)
//   cispo  objective = stop_gradient(min(ratio, ratio_cap)) · A · log_prob                         (MiniMax 2025)
//   spo    objective = ratio · A − |A| / (2 clip_low) · (ratio − 1)²                               (Xie et al. 2024)
//
//   token_loss = −weight · objective + kl_weight · kl                                              (losses/kl.h)
//   token_mean  loss = Σ token_loss over response tokens / denominator              (denominator: tokens, or any constant)
//   row_mean    loss = Σ over rows of the mean of token_loss over the response / denominator       (denominator: rows)
//   loss −= entropy_weight · mean entropy of response tokens
//
// Denominators default to the tokens or rows of this batch, so that pieces given the count of the whole step add up to
// its mean. A row without response tokens counts for nothing.
#pragma once
#include <optional>

#include "losses/kl.h"
#include "losses/loss.h"

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

// The objective, at least dual_clip · advantage where the advantage is negative.
Tensor dual_clipped(const Tensor& objective, const Tensor& advantage, double dual_clip);

// The k3 estimator (Schulman 2020) of KL(rollout ‖ current policy) per token; it is never negative.
Tensor approx_kl(const ClippedObjective& policy);

// Max |log_prob − rollout_log_prob| over response tokens, a scalar.
Tensor max_log_ratio(const Tensor& log_prob, const Tensor& rollout_log_prob, const Tensor& response_mask);

enum class PolicyKind { clip, cispo, spo };
enum class RatioLevel { token, sequence_mean, sequence_sum };
enum class Aggregation { token_mean, row_mean };

struct PolicyOptions {
  PolicyKind kind;
  RatioLevel level;  // the sequence levels average over rows
  Aggregation aggregation;
  double clip_low, clip_high;
  std::optional<double> ratio_max, dual_clip;  // of clip
  double ratio_cap;                            // of cispo
  std::optional<KlEstimator> kl;               // with reference_log_prob; in the loss
  double kl_weight;                            //
  double entropy_weight;                       //
  std::optional<double> top_entropy;  // only this share of the batch's tokens, those with the highest entropy, learn
  std::optional<double>
      off_policy_kl;  // rows with a negative advantage further than this, in nats per token, from the rollout
};

// What a loss compares: all [B, T].
struct PolicyInputs {
  Tensor log_prob, entropy, rollout_log_prob, advantage;
  Tensor response_mask;       // bool
  Tensor reference_log_prob;  // undefined unless options.kl
  Tensor weight;              // of each token (losses/off-policy.h); undefined for 1
};

Loss policy_loss(const PolicyInputs& inputs, const PolicyOptions& options, std::optional<double> denominator,
                 std::optional<double> tokens);
// metrics: policy_loss (without KL and entropy); means over response tokens, divided by `tokens`, by default those of this
// batch: entropy, approx_kl (k3 of Schulman 2020), clip_fraction, clipped_low and clipped_high (shares of tokens whose
// objective the clip holds, below and above; of rows at a sequence level), dual_clip_fraction (with dual_clip), kl_loss
// (with kl; averaged like the loss); and max_log_ratio

}  // namespace palm
