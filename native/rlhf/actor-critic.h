// A policy (the actor) and a critic on the same model. With LoRA the critic uses a scope of its own; without LoRA both
// share all weights.
#pragma once
#include "rlhf/policy.h"
#include "rlhf/value-head.h"

namespace palm {

struct Evaluation {
  Tensor log_prob;                     // [B, T], of the given tokens; entry 0 is 0
  Tensor entropy;                      // [B, T], of the distribution each token was sampled from; entry 0 is 0
  Tensor value;                        // [B, T], expected return before the token was chosen; entry 0 is 0
  std::optional<Tensor> value_logits;  // [B, T, bins], of a critic with a histogram
};

class ActorCritic {
 public:
  ActorCritic(std::shared_ptr<Policy> actor, std::shared_ptr<Scope> critic, std::optional<Histogram> histogram);

  void initialise() { value_head_.initialise(); }
  ParameterList parameters() const { return value_head_.parameters(); }

  // Runs actor and critic on tokens [B, T], as returned by the actor's `accept`. With `critic_only`, only the critic
  // gets gradients: its scope and its head or, without LoRA, only its head. `from` is what the actor shares with its
  // reference.
  Evaluation evaluate(const Tensor& tokens, double temperature, Gradients gradients, bool critic_only = false,
                      const Midway& from = {});
  Tensor value(const Tensor& tokens, const Midway& from = {});  // [B, T], the critic only, without a graph

  Policy& actor() const { return *actor_; }
  const Tensor& storage() const { return value_head_.storage(); }

 private:
  void prepare_gradients(Gradients gradients, bool critic_only);
  Tensor critic_hidden(const Tensor& tokens, Gradients gradients, const Midway& from);

  std::shared_ptr<Policy> actor_;
  std::shared_ptr<Scope> critic_;
  ValueHead value_head_;
};

}  // namespace palm
