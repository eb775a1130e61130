// A policy: a language model with a scope, and its reference. With LoRA the reference is the same model without the
// scope; without LoRA it is a frozen copy, or a frozen branch that shares the layers which are not trained.
#pragma once
#include "model/language-model.h"

namespace palm {

struct LogProb {
  Tensor log_prob;  // [B, T], of the given tokens; entry 0 is 0
  Tensor entropy;   // [B, T], of the distribution each token was sampled from; entry 0 is 0
};

struct Comparison : LogProb {
  Tensor reference_log_prob;  // [B, T], likewise; never differentiable
};

class Policy {
 public:
  // Without `scope`, the policy trains all weights of the model; then only `reference` can provide a reference policy.
  Policy(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope, std::shared_ptr<LanguageModel> reference);

  // Checks a sequence [B, T] from any source and returns tokens for the functions below. Throws in training mode.
  Tensor accept(const Tensor& sequence) const;
  void expect_evaluation_mode() const;

  // Called before a graph is recorded.
  void prepare_gradients(Gradients gradients);
  // The states that policy and reference both go on from, computed without a graph: where the reference branches off,
  // or else the beginning.
  Midway shared(const Tensor& tokens);
  // Hidden states [B, T, D] of tokens [B, T], and the log-probabilities of the tokens; logits are divided by the
  // sampling temperature.
  Tensor hidden(const Tensor& tokens, Gradients gradients, const Midway& from = {});
  LogProb log_prob(const Tensor& hidden, const Tensor& tokens, double temperature, Gradients gradients) const;
  // [B, T], without a graph.
  Tensor reference_log_prob(const Tensor& tokens, double temperature, const Midway& from = {});
  // Both, from shared states.
  Comparison compare(const Tensor& tokens, double temperature, Gradients gradients);

  const std::shared_ptr<LanguageModel>& model() const { return model_; }
  const std::shared_ptr<Scope>& scope() const { return scope_; }

 private:
  std::shared_ptr<LanguageModel> model_;
  std::shared_ptr<Scope> scope_;
  std::shared_ptr<LanguageModel> reference_;
};

}  // namespace palm
