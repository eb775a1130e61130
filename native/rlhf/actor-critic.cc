#include "rlhf/actor-critic.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/linear.h>

#include "base/error.h"
#include "kernels/linear.h"
#include "model/lora.h"

namespace palm {

ActorCritic::ActorCritic(std::shared_ptr<LanguageModel> trunk, std::shared_ptr<Scope> actor,
                         std::shared_ptr<Scope> critic, std::shared_ptr<LanguageModel> reference)
    : trunk_(std::move(trunk)),
      actor_(std::move(actor)),
      critic_(std::move(critic)),
      reference_(std::move(reference)),
      buffer_({{"value_head.weight", {1, trunk_->shape().dim}}, {"value_head.bias", {1}}},
              trunk_->shape().options.dtype().toScalarType(), trunk_->shape().options.device()),
      value_weight_(buffer_.parameters()[0]->tensor),
      value_bias_(buffer_.parameters()[1]->tensor) {}

void ActorCritic::initialise() {
  at::NoGradGuard no_grad;
  value_weight_.zero_();
  value_bias_.zero_();
}

// The hidden state at t − 1 predicts token t: what was computed for 1 … T − 1 moves one place right, entry 0 is 0.
static Tensor aligned(const Tensor& flat, int64_t batch) {
  return at::constant_pad_nd(flat.view({batch, -1}), {1, 0}, 0);
}

static TokenLogProb read_log_prob(const Head& head, const Tensor& hidden, const Tensor& tokens, double temperature) {
  const int64_t before = tokens.size(1) - 1;
  return head.log_prob(hidden.narrow(1, 0, before).flatten(0, 1), tokens.narrow(1, 1, before).flatten(), temperature);
}

void ActorCritic::expect_evaluation_mode() const {
  if (trunk_->training())
    throw Error(ErrorKind::argument, "model", "a model in training mode", "one in evaluation mode",
                "Call model.eval(): with dropout the log-probabilities of a rollout cannot be computed again.");
}

Tensor ActorCritic::accept(const Tensor& sequence) const {
  expect_evaluation_mode();
  return trunk_->accept(sequence, "sequence");
}

Tensor ActorCritic::value_of(const Tensor& judged) const {
  const Tensor weight = widened(value_weight_), before = judged.narrow(1, 0, judged.size(1) - 1);
  const Tensor value = at::linear(before.to(weight.scalar_type()), weight, widened(value_bias_));
  return aligned(value.reshape({-1}), judged.size(0));
}

void ActorCritic::prepare(Gradients gradients, bool critic_only) {
  if (gradients == Gradients::none) return;
  buffer_.prepare_gradients();
  if (critic_) critic_->prepare_gradients();
  if (critic_only) return;
  if (gradients == Gradients::all) trunk_->prepare_gradients();
  if (actor_) actor_->prepare_gradients();
}

Evaluation ActorCritic::evaluate(const Tensor& tokens, double temperature, Gradients gradients, bool critic_only) {
  prepare(gradients, critic_only);
  const int64_t batch = tokens.size(0);
  const Gradients acting = critic_only ? Gradients::none : gradients;
  at::AutoGradMode actor_mode(acting != Gradients::none);
  const Tensor acted = trunk_->hidden(tokens, {.scope = actor_.get(), .gradients = acting});
  const TokenLogProb token = read_log_prob(trunk_->head(acting), acted, tokens, temperature);
  const Gradients judging = critic_only && gradients == Gradients::all ? Gradients::adapters : gradients;
  at::AutoGradMode critic_mode(judging != Gradients::none);
  const Tensor judged = critic_ ? trunk_->hidden(tokens, {.scope = critic_.get(), .gradients = judging}) : acted;
  return {aligned(token.log_prob, batch), aligned(token.entropy, batch), value_of(judged)};
}

Tensor ActorCritic::value(const Tensor& tokens) {
  at::NoGradGuard no_grad;
  return value_of(trunk_->hidden(tokens, {.scope = (critic_ ? critic_ : actor_).get()}));
}

Tensor ActorCritic::reference_log_prob(const Tensor& tokens, double temperature) {
  at::NoGradGuard no_grad;
  LanguageModel& model = reference_ ? *reference_ : *trunk_;
  if (!reference_ && !actor_)
    throw Error(ErrorKind::argument, "actorCritic", "no reference policy", "one made with { reference: true }",
                "Without LoRA the trunk itself is trained, so the reference must be a copy made beforehand.");
  const Head head = model.head(Gradients::none);
  return aligned(read_log_prob(head, model.hidden(tokens, {}), tokens, temperature).log_prob, tokens.size(0));
}

}  // namespace palm
