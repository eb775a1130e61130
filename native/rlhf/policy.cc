#include "rlhf/policy.h"

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "base/shape.h"
#include "model/lora.h"

namespace palm {

Policy::Policy(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope,
               std::shared_ptr<LanguageModel> reference)
    : model_(std::move(model)), scope_(std::move(scope)), reference_(std::move(reference)) {}

void Policy::expect_evaluation_mode() const {
  if (model_->training())
    throw Error(ErrorKind::argument, "model", "a model in training mode", "a model in evaluation mode",
                "Call model.eval(): dropout makes the log-probabilities of a rollout non-reproducible.");
}

Tensor Policy::accept(const Tensor& sequence) const {
  expect_evaluation_mode();
  return model_->accept(sequence, "sequence");
}

void Policy::prepare_gradients(Gradients gradients) {
  if (gradients == Gradients::none) return;
  if (gradients == Gradients::all) model_->prepare_gradients();
  if (scope_) scope_->prepare_gradients();
}

Midway Policy::shared(const Tensor& tokens) {
  const int64_t layer = reference_ ? reference_->shared_layers() : 0;
  if (layer == 0) return {};
  at::NoGradGuard no_grad;
  return {.layer = layer, .states = model_->hidden(tokens, {.until = layer})};
}

Tensor Policy::hidden(const Tensor& tokens, Gradients gradients, const Midway& from) {
  return model_->hidden(tokens, {.scope = scope_.get(), .gradients = gradients, .from = from});
}

static LogProb log_prob_of(const Head& head, const Tensor& hidden, const Tensor& tokens, double temperature) {
  const int64_t batch = tokens.size(0), predicted = tokens.size(1) - 1;
  const TokenLogProb token = head.log_prob(hidden.narrow(1, 0, predicted).flatten(0, 1),
                                           tokens.narrow(1, 1, predicted).flatten(), temperature);
  return {shifted_right(token.log_prob, batch), shifted_right(token.entropy, batch)};
}

LogProb Policy::log_prob(const Tensor& hidden, const Tensor& tokens, double temperature, Gradients gradients) const {
  return log_prob_of(model_->head(gradients), hidden, tokens, temperature);
}

Tensor Policy::reference_log_prob(const Tensor& tokens, double temperature, const Midway& from) {
  at::NoGradGuard no_grad;
  if (!reference_ && !scope_)
    throw Error(ErrorKind::argument, "policy", "no reference policy", "a policy created with { reference: true }",
                "Without LoRA the model itself is trained, so the reference must be copied before training.");
  LanguageModel& model = reference_ ? *reference_ : *model_;
  return log_prob_of(model.head(Gradients::none), model.hidden(tokens, {.from = from}), tokens, temperature).log_prob;
}

Comparison Policy::compare(const Tensor& tokens, double temperature, Gradients gradients) {
  const Midway from = shared(tokens);
  const LogProb now = log_prob(hidden(tokens, gradients, from), tokens, temperature, gradients);
  return {now, reference_log_prob(tokens, temperature, from)};
}

}  // namespace palm
