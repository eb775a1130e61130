#include "rlhf/actor-critic.h"

#include <ATen/core/grad_mode.h>

#include "model/lora.h"

namespace palm {

ActorCritic::ActorCritic(std::shared_ptr<Policy> actor, std::shared_ptr<Scope> critic,
                         std::optional<Histogram> histogram)
    : actor_(std::move(actor)), critic_(std::move(critic)), value_head_(actor_->model()->shape(), histogram) {}

void ActorCritic::prepare_gradients(Gradients gradients, bool critic_only) {
  if (gradients == Gradients::none) return;
  value_head_.prepare_gradients();
  if (critic_) critic_->prepare_gradients();
  if (!critic_only) actor_->prepare_gradients(gradients);
}

Tensor ActorCritic::critic_hidden(const Tensor& tokens, Gradients gradients, const Midway& from) {
  return actor_->model()->hidden(tokens, {.scope = critic_.get(), .gradients = gradients, .from = from});
}

Evaluation ActorCritic::evaluate(const Tensor& tokens, double temperature, Gradients gradients, bool critic_only,
                                 const Midway& from) {
  prepare_gradients(gradients, critic_only);
  const Gradients actor_gradients = critic_only ? Gradients::none : gradients;
  at::AutoGradMode actor_mode(actor_gradients != Gradients::none);
  const Tensor actor_hidden = actor_->hidden(tokens, actor_gradients, from);
  const LogProb actor = actor_->log_prob(actor_hidden, tokens, temperature, actor_gradients);
  const Gradients critic_gradients = critic_only && gradients == Gradients::all ? Gradients::adapters : gradients;
  at::AutoGradMode critic_mode(critic_gradients != Gradients::none);
  const Value value = value_head_(critic_ ? critic_hidden(tokens, critic_gradients, from) : actor_hidden);
  return {actor.log_prob, actor.entropy, value.expected, value.logits};
}

// Without LoRA there is no critic scope, and this is what the actor reads.
Tensor ActorCritic::value(const Tensor& tokens, const Midway& from) {
  at::NoGradGuard no_grad;
  return value_head_(critic_hidden(tokens, Gradients::none, from)).expected;
}

}  // namespace palm
