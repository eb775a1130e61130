// From scores to PPO's training signal: per-token rewards, advantages by GAE, and returns.
#pragma once
#include "base/metrics.h"
#include "base/tensor.h"

#include <optional>

namespace palm {

struct PpoAdvantageOptions {
  double kl_weight;  // penalty per nat of log-ratio to the reference
  double gamma, lambda;
  bool whiten;  // advantages to mean 0 and variance 1 over all response tokens of the batch
  std::optional<double>
      length_adaptive;  // alpha of the advantages' lambda (gae.h); lambda is then of the returns alone
};

struct PpoAdvantages {
  Tensor reward;     // [B, T]: the score at the last token plus any dense reward, minus the KL penalty at every token
  Tensor advantage;  // [B, T]
  Tensor returns;    // [B, T]
  // Over rows with a response: kl (mean of Σ log-ratio), score (mean), reward (mean of Σ reward), explained_variance (of the
  // returns by the rollout's values), response_length (mean), sampler_gap (max |sampler_log_prob − rollout_log_prob|)
  Metrics metrics;
};

PpoAdvantages ppo_advantages(const Tensor& sampler_log_prob,  // [B, T], like the next three
                             const Tensor& rollout_log_prob, const Tensor& reference_log_prob,
                             const Tensor& rollout_value,
                             const Tensor& response_mask,  // [B, T] bool
                             const Tensor& score,          // [B]
                             const Tensor& dense,          // [B, T]: a reward for every token; undefined for none
                             const PpoAdvantageOptions& options);

}  // namespace palm
