// What a policy answers to prompts, and what is read of the answers.
#pragma once
#include <vector>

#include "generation/generation-loop.h"
#include "rlhf/actor-critic.h"

namespace palm {

struct Rollout {
  Tensor sequence;          // [B, T] int64: prompt, response, padding
  Tensor response_mask;     // [B, T] bool, eos included
  Tensor sampler_log_prob;  // [B, T] as drawn through the cache
  // [B, T] of the same weights, recomputed by the forward pass that training uses, or as drawn
  Tensor rollout_log_prob;
  Tensor reference_log_prob;  // [B, T]; equal to rollout_log_prob where no reference was asked for
};

struct ValuedRollout : Rollout {
  Tensor rollout_value;  // [B, T]
};

// How a rollout is read after sampling.
struct RolloutReading {
  // Rows that are read together. Reading the pieces that the first epoch trains on gives bit for bit the log-probs which
  // that epoch computes: its ratios are exactly 1.
  std::vector<std::vector<int64_t>> pieces;
  bool with_reference;
  bool recompute;  // else the sampler's log-probs are taken, and the policy is not read again
};

// Samples from the policy, then reads what was sampled.
Rollout rollout(Policy& policy, const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                const RolloutReading& reading, const Cancel* cancel);
// The same, and what the critic says.
ValuedRollout rollout(ActorCritic& actor_critic, const Tensor& prompts, const Tensor& lengths,
                      const GenerateOptions& options, const RolloutReading& reading, const Cancel* cancel);

}  // namespace palm
