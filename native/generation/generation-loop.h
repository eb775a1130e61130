// Generation: one prefill of the prompts, then one token per row and step, using the cache, until every row has ended.
// Once at most half of the rows are still alive, the ended ones are dropped from the computation. That changes no row:
// every step draws one random number for every original row, ended or not.
#pragma once
#include <ATen/core/Generator.h>

#include <memory>
#include <optional>
#include <vector>

#include "generation/cancel.h"
#include "generation/readout.h"
#include "generation/sampler.h"
#include "model/decode-step.h"
#include "model/kv-cache.h"
#include "model/language-model.h"

namespace palm {

struct GenerateOptions {
  int64_t max_new_tokens;
  double temperature;
  std::optional<int64_t> top_k;
  std::optional<double> top_p, min_p;
  std::vector<int64_t> eos_tokens;         // each ends a row
  std::vector<std::vector<int64_t>> stop;  // a row ends with the last token of any of these
  std::vector<int64_t> suppress;           // tokens that are never sampled
  int64_t pad_token;
  int64_t samples_per_prompt;
  bool int8;  // decode with weights rounded to 8 bits; prompts use the model's own weights
  int64_t seed;
};

struct Generation {
  Tensor sequences;      // [B, T] int64: prompt, response, then pad_token, without gaps
  Tensor response_mask;  // [B, T] bool, true from a row's first new token to its eos or the end of a stop sequence
  Tensor log_probs;      // [B, T], of the distribution sampled from; 0 outside the response
};

class GenerationLoop {
 public:
  // prompts [B, P] right-padded, lengths [B] of at least 1. Output rows are prompt-major: prompt 0's samples come
  // first.
  GenerationLoop(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope, const Tensor& prompts,
                 const Tensor& lengths, const GenerateOptions& options, std::shared_ptr<Readout> readout = nullptr);
  ~GenerationLoop();

  bool done() const { return done_; }
  // Generates up to `count` more tokens per row. If tokens were sampled from non-finite logits, the functions below
  // throw.
  void advance(int64_t count, const Cancel* cancel);
  Generation result() const;
  // The steps from `first` on, for a loop with a single row.
  std::vector<int64_t> tokens_since(size_t first) const;
  std::vector<double> log_probs_since(size_t first) const;
  size_t steps() const { return steps_; }

 private:
  bool was_alive(size_t step) const;  // whether the first row was alive when this token was sampled
  void check_tokens() const;
  void prefill();
  void decode_next();
  Tensor read(const Tensor& hidden) const;  // [n, D] → [n, V]
  void step();
  void keep(const Draw& draw);
  Tensor ends() const;
  bool ends_early() const { return !options_.eos_tokens.empty() || !options_.stop.empty(); }
  SamplerOptions sampler() const { return {options_.temperature, options_.top_k, options_.top_p, options_.min_p}; }
  void drop_ended(int64_t living);
  [[noreturn]] void refuse_numbers() const;
  int64_t rows() const { return prompts_.size(0); }

  std::shared_ptr<LanguageModel> model_;
  std::shared_ptr<Scope> scope_;
  Tensor prompts_, lengths_;  // [B, P], [B]; one row per sample after prefill
  GenerateOptions options_;
  std::shared_ptr<Readout> readout_;  // undefined: the model's head
  at::Generator generator_;
  std::unique_ptr<DecodeStep> decode_step_;
  std::optional<KvCache> cache_;           // only if there is no decode step
  Tensor tokens_, log_probs_, was_alive_;  // [max_new_tokens, B], of which the first `steps_` are filled
  size_t steps_ = 0;
  Tensor suppress_;           // [m] int64, from the options
  std::vector<Tensor> stop_;  // a column [m, 1] for each stop sequence of the options
  // Of the n rows (of B) that are still computed:
  Tensor left_;    // [n] int64, their indices among all rows; undefined while all are computed
  Tensor logits_;  // [n, V], of the next token
  Tensor next_;    // [n], the last token sampled
  Tensor alive_;   // [n] bool
  bool done_ = false;
};

// Runs a loop to its end. Does not throw when cancelled: the caller knows that it cancelled.
Generation generate(const std::shared_ptr<LanguageModel>& model, const std::shared_ptr<Scope>& scope,
                    const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options, const Cancel* cancel,
                    const std::shared_ptr<Readout>& readout = nullptr);

}  // namespace palm
