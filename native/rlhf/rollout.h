// Responses sampled from a policy, with the log-probs and values that training needs.
#pragma once
#include <vector>

#include "generation/batch.h"
#include "rlhf/actor-critic.h"

namespace palm {

struct Rollout {
  Tensor sequence;          // [B, T] int64: prompt, response, padding
  Tensor response_mask;     // [B, T] bool, eos included
  Tensor sampler_log_prob;  // [B, T] from sampling, computed with the cache
  // [B, T] under the same weights, recomputed by the forward pass that training uses, or the sampler's
  Tensor rollout_log_prob;
  Tensor reference_log_prob;  // [B, T]; equal to rollout_log_prob if no reference was requested
};

struct ValuedRollout : Rollout {
  Tensor rollout_value;  // [B, T]
};

// How a rollout is evaluated after sampling.
struct RolloutEvaluation {
  // Rows that are evaluated together. If these are the micro-batches of the first epoch, the log-probs are bit for bit
  // those of that epoch: its ratios are exactly 1.
  std::vector<std::vector<int64_t>> pieces;
  bool with_reference;
  bool recompute;  // if false, the sampler's log-probs are used and the policy is not evaluated again
};

// Samples from the policy, then evaluates the samples.
Rollout rollout(Policy& policy, const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                const RolloutEvaluation& evaluation, const Cancel* cancel);
// The same, including the critic's values.
ValuedRollout rollout(ActorCritic& actor_critic, const Tensor& prompts, const Tensor& lengths,
                      const GenerateOptions& options, const RolloutEvaluation& evaluation, const Cancel* cancel);

}  // namespace palm
