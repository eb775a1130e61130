// Samples the next token of one row by its own options: penalties and bias change its logits, and sampler.h draws. What
// is drawn depends on the row's logits, options, history and step alone: the random number is a function of seed, sample
// and step.
#pragma once
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "generation/sampler.h"

namespace palm {

// How a row draws. Penalties are those of OpenAI (`frequency`, `presence`: of what the row has drawn) and of CTRL
// (`repetition`, Keskar et al. 2019: of the prompt too); 0, 0 and 1 are off.
struct RowOptions {
  double temperature;
  std::optional<int64_t> top_k;
  std::optional<double> top_p, min_p;
  double frequency_penalty, presence_penalty, repetition_penalty;
  std::vector<int64_t> bias_tokens;
  std::vector<double> bias;                // added to the logits of `bias_tokens`
  std::vector<int64_t> end_tokens;         // each ends the row
  std::vector<std::vector<int64_t>> stop;  // the row ends with the last token of any of these
  int64_t min_tokens, max_tokens;          // no end token before `min_tokens`; the row ends at `max_tokens`
  std::optional<int64_t> top;              // report the log-probabilities of so many likeliest tokens; nothing: none
  int64_t seed, sample;                    // rows of one request differ in `sample`

  SamplerOptions sampler() const { return {temperature, top_k, top_p, min_p}; }
};

// Log-probabilities of the model, at temperature 1, before penalties, bias and filters.
struct ModelLogProbs {
  double token;
  std::vector<int64_t> top_tokens;  // the likeliest first
  std::vector<double> top;
};

struct RowDraw {
  int64_t token;
  double log_prob;  // of the distribution sampled from; NaN if any logit is not finite
  std::optional<ModelLogProbs> model;
};

class RowSampler {
 public:
  RowSampler(RowOptions options, const std::vector<int64_t>& prompt);

  // The token of the next step, from logits [V].
  RowDraw draw(const Tensor& logits) const;
  // Goes on to the step after it, once the token is known.
  void accept(int64_t token);
  const RowOptions& options() const { return options_; }
  int64_t steps() const { return steps_; }
  bool stopped() const;  // whether the last token ends the row
  // Whether a row draws from other logits than the model's, or reports more than what it draws.
  bool differs() const { return adjusts() || options_.top; }
  // The random number of the step that comes `ahead` steps after the next.
  double uniform(int64_t ahead) const;

 private:
  bool penalises() const;
  bool adjusts() const;
  Tensor adjusted(const Tensor& logits) const;

  RowOptions options_;
  int64_t steps_ = 0;
  std::unordered_set<int64_t> prompt_;              // its tokens, if they are penalised
  std::unordered_map<int64_t, int64_t> generated_;  // how often each token was drawn, likewise
  size_t longest_stop_ = 1;
  std::vector<int64_t> recent_;  // the last tokens, as many as the longest sequence that ends the row
};

// The random number in [0, 1) of a step: Philox 4x32-10 (Salmon et al. 2011).
double uniform_of(int64_t seed, int64_t sample, int64_t step);

}  // namespace palm
