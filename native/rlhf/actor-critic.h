// Actor and critic over one trunk. With LoRA each reads it through a scope of its own, and the reference policy is the
// trunk read through none. Without LoRA both share all weights, and the reference is a frozen copy.
#pragma once
#include "base/parameter.h"
#include "model/language-model.h"

namespace palm {

struct Evaluation {
  Tensor log_prob;  // [B, T] of the token that is there; entry 0 is 0
  Tensor entropy;   // [B, T] of the distribution it was chosen from; entry 0 is 0
  Tensor value;     // [B, T] expected return before the token was chosen; entry 0 is 0
};

class ActorCritic {
 public:
  ActorCritic(std::shared_ptr<LanguageModel> trunk, std::shared_ptr<Scope> actor, std::shared_ptr<Scope> critic,
              std::shared_ptr<LanguageModel> reference);

  void initialise();  // the value head starts at 0: no opinion (Huang et al. 2024, detail 11)
  ParameterList parameters() const { return buffer_.parameters(); }  // the value head

  // Checks a sequence [B, T] of any origin for the functions below, which take tokens that the model has. Throws in
  // training mode.
  Tensor accept(const Tensor& sequence) const;
  void expect_evaluation_mode() const;

  // Reads tokens [B, T] with actor and critic; logits are divided by the temperature that samples are drawn at. With
  // `critic_only` the graph leads to the critic alone: to its scope and its head, and without LoRA to the head.
  Evaluation evaluate(const Tensor& tokens, double temperature, Gradients gradients, bool critic_only = false);
  Tensor value(const Tensor& tokens);                                   // [B, T], the critic alone, without a graph
  Tensor reference_log_prob(const Tensor& tokens, double temperature);  // [B, T]

  const std::shared_ptr<LanguageModel>& trunk() const { return trunk_; }
  const std::shared_ptr<Scope>& actor() const { return actor_; }
  const Tensor& storage() const { return buffer_.storage(); }

 private:
  Tensor value_of(const Tensor& judged) const;
  void prepare(Gradients gradients, bool critic_only);

  std::shared_ptr<LanguageModel> trunk_;
  std::shared_ptr<Scope> actor_, critic_;
  std::shared_ptr<LanguageModel> reference_;
  ParameterBuffer buffer_;
  Tensor value_weight_;  // [1, D]
  Tensor value_bias_;    // [1]
};

}  // namespace palm
