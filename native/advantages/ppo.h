// From scores to what PPO learns from: rewards token by token, advantages by GAE, returns.
#pragma once
#include "base/metrics.h"
#include "base/tensor.h"

namespace palm {

struct PpoAdvantageOptions {
  double kl_weight;  // nats of reward per nat of log-ratio to the reference
  double gamma, lambda;
  bool whiten;  // advantages to mean 0, variance 1 over the response tokens of the whole batch
};

struct PpoAdvantages {
  Tensor reward;     // [B, T]: the score at the last token, minus the KL penalty at every one
  Tensor advantage;  // [B, T]
  Tensor returns;    // [B, T]
  // kl (mean over rows of Σ log-ratio), score (mean), reward (mean over rows of Σ reward), explained_variance of the
  // returns by the rollout's values, response_length (mean), sampler_gap (largest |sampler_log_prob − rollout_log_prob|)
  Metrics metrics;
};

PpoAdvantages ppo_advantages(const Tensor& sampler_log_prob,  // [B, T], as the next three
                             const Tensor& rollout_log_prob, const Tensor& reference_log_prob,
                             const Tensor& rollout_value,
                             const Tensor& response_mask,  // [B, T] bool
                             const Tensor& score,          // [B]
                             const PpoAdvantageOptions& options);

}  // namespace palm
