// A batch of experience, from sampling to advantages.
#pragma once
#include <vector>

#include "generation/generation-loop.h"
#include "losses/loss.h"
#include "rlhf/actor-critic.h"

namespace palm {

struct Rollout {
  Tensor sequence;          // [B, T] int64: prompt, response, padding
  Tensor response_mask;     // [B, T] bool, eos included
  Tensor sampler_log_prob;  // [B, T] as drawn through the cache
  // [B, T] of the same weights, recomputed by the forward pass that training uses, or as drawn
  Tensor rollout_log_prob;
  Tensor reference_log_prob;  // [B, T]; equal to rollout_log_prob where no reference was asked for
  Tensor rollout_value;       // [B, T]
};

// Samples from the actor, then reads what was sampled, `pieces` of rows at a time. Reading the pieces that the first
// epoch trains on gives bit for bit the log-probs which that epoch computes: its ratios are exactly 1.
// Without `recompute` the sampler's log-probs are taken for them, and the actor is not read again.
Rollout rollout(ActorCritic& actor_critic, const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                const std::vector<std::vector<int64_t>>& pieces, bool with_reference, bool recompute,
                const Cancel* cancel);

struct JudgeOptions {
  double kl_weight;  // nats of reward per nat of log-ratio to the reference
  double gamma, lambda;
  bool whiten;  // advantages to mean 0, variance 1 over the response tokens of the whole batch
};

struct Judgement {
  Tensor reward;     // [B, T]: the score at the last token, minus the KL penalty at every one
  Tensor advantage;  // [B, T]
  Tensor returns;    // [B, T]
  // kl (mean over rows of Σ log-ratio), score (mean), reward (mean over rows of Σ reward), explained_variance of the
  // returns by the rollout's values, response_length (mean), sampler_gap (largest |sampler_log_prob − rollout_log_prob|)
  Metrics metrics;
};

Judgement judge(const Rollout& rollout, const Tensor& score, const JudgeOptions& options);  // score [B]

}  // namespace palm
