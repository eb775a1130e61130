// A policy: a language model read through a scope, and its reference. With LoRA the reference is the model read through
// none; without, it is a frozen copy.
#pragma once
#include "model/language-model.h"

namespace palm {

struct LogProb {
  Tensor log_prob;  // [B, T] of the token that is there; entry 0 is 0
  Tensor entropy;   // [B, T] of the distribution it was chosen from; entry 0 is 0
};

// What was computed for the predictions of tokens 1 … T − 1, moved to these tokens: flat [B · (T − 1)] → [B, T], entry 0
// of every row is 0.
Tensor moved_to_predicted(const Tensor& flat, int64_t batch);

class Policy {
 public:
  // Without `scope` all weights of the model are the policy's; without `reference` too there is none.
  Policy(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope, std::shared_ptr<LanguageModel> reference);

  // Checks a sequence [B, T] of any origin for the functions below, which take tokens that the model has. Throws in
  // training mode.
  Tensor accept(const Tensor& sequence) const;
  void expect_evaluation_mode() const;

  // Called before a graph is recorded.
  void prepare_gradients(Gradients gradients);
  // Hidden states [B, T, D] of tokens [B, T], and what they say of these tokens; logits are divided by the temperature
  // that samples are drawn at.
  Tensor hidden(const Tensor& tokens, Gradients gradients);
  LogProb log_prob(const Tensor& hidden, const Tensor& tokens, double temperature, Gradients gradients) const;
  Tensor reference_log_prob(const Tensor& tokens, double temperature);  // [B, T], without a graph

  const std::shared_ptr<LanguageModel>& model() const { return model_; }
  const std::shared_ptr<Scope>& scope() const { return scope_; }

 private:
  std::shared_ptr<LanguageModel> model_;
  std::shared_ptr<Scope> scope_;
  std::shared_ptr<LanguageModel> reference_;
};

}  // namespace palm
