// A reward model: a trunk, two learned embeddings that mark prompt and response, the mean of the hidden states, and a
// head (the RewardModel of palm-rlhf-pytorch). With LoRA the trunk is shared and has a separate scope for the reward
// model.
#pragma once
#include "base/parameter.h"
#include "losses/ranking.h"
#include "model/language-model.h"

namespace palm {

struct RewardInput {
  Tensor sequence;                       // [B, T]
  std::optional<Tensor> prompt_lengths;  // [B]; at most one of this and prompt_mask
  std::optional<Tensor> prompt_mask;     // [B, T] bool, true if a token belongs to the prompt
  std::optional<Tensor> lengths;         // [B], tokens after it are padding; at most one of this and mask
  std::optional<Tensor> mask;            // [B, T] bool, false for padding; nothing: all positions are pooled
};

// Which hidden states the head reads: the mean over all real tokens; the mean over the response only, if the input tells
// which tokens these are, so that a long prompt does not dominate; or that of the last real token.
enum class Pooling { all, response, last };

class RewardModel {
 public:
  // bins 0: a scalar head without bias; otherwise a head over `bins` classes with bias.
  RewardModel(std::shared_ptr<LanguageModel> trunk, std::shared_ptr<Scope> scope, int64_t bins, double dropout,
              Pooling pooling);

  void initialise(int64_t seed);
  ParameterList parameters() const { return buffer_.parameters(); }  // without those of the trunk and the scope
  void train(bool on, int64_t seed);
  void set_shift(double shift) { shift_ = shift; }  // added to every score; losses do without

  // All results are float32 (float64 for float64 models), and so is everything after pooling.
  Tensor forward(const RewardInput& input, Gradients gradients);  // [B], or logits [B, N]
  Tensor score(const RewardInput& input);                         // [B]; with bins, the expected bin
  Tensor loss(const RewardInput& input, const Tensor& labels, std::optional<double> denominator, Gradients gradients);
  Loss ranking_loss(const RewardInput& input, const Tensor& groups, const Tensor& ranks, const RankingOptions& options,
                    std::optional<double> denominator, Gradients gradients);
  // Without bins, the head read at every token: [B, T], and its loss on the labels of steps (losses/step.h).
  Tensor token_scores(const RewardInput& input, Gradients gradients);
  Loss step_loss(const RewardInput& input, const Tensor& labels, std::optional<double> denominator,
                 Gradients gradients);
  const Tensor& storage() const { return buffer_.storage(); }

 private:
  struct Read;
  Read read(const RewardInput& input, Gradients gradients);
  Tensor head_of(const RewardInput& input, Gradients gradients);
  Tensor score_of(const Tensor& head) const;
  // Mask of real tokens [B, T]; undefined if the input does not specify it.
  Tensor real_mask(const RewardInput& input, int64_t batch, int64_t time) const;
  Tensor padded(const Tensor& sequence, const Tensor& real) const;
  Tensor prompt_mask(const RewardInput& input, int64_t batch, int64_t time) const;
  void prepare(Gradients gradients);

  std::shared_ptr<LanguageModel> trunk_;
  std::shared_ptr<Scope> scope_;
  int64_t bins_;
  double dropout_;
  Pooling pooling_;
  double shift_ = 0;
  std::optional<Dropout> training_dropout_;
  ParameterBuffer buffer_;
  Tensor prompt_embedding_, response_embedding_;  // [D]
  Tensor head_;                                   // [1 or N, D]
  Tensor bias_;                                   // [N]; undefined without bins
};

}  // namespace palm
