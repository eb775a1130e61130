// Answers to many prompts at once: they are read as one padded batch, then all rows are decoded until each has ended.
// The tokens of a row depend on its logits, the seed and the row's index alone: every row has random numbers of its own.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "generation/cancel.h"
#include "generation/decode-loop.h"
#include "model/language-model.h"
#include "model/readout.h"
#include "model/token-reader.h"

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
  bool int8;  // decode with weights rounded to 8 bits; prompts of a batch use the model's own weights
  int64_t seed;

  RowOptions row(int64_t index) const;
  // Throws unless `model` can draw by these options.
  void check(const LanguageModel& model) const;
};

struct Generation {
  Tensor sequences;      // [B, T] int64: prompt, response, then pad_token, without gaps
  Tensor response_mask;  // [B, T] bool, true from a row's first new token to its eos or the end of a stop sequence
  Tensor log_probs;      // [B, T], of the distribution sampled from; 0 outside the response
};

class Batch {
 public:
  // prompts [B, P] right-padded, lengths [B] of at least 1. Output rows are prompt-major: prompt 0's samples come
  // first. Without a readout, tokens are drawn from the model's own logits.
  Batch(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope, const Tensor& prompts,
        const Tensor& lengths, const GenerateOptions& options, std::shared_ptr<Readout> readout);

  bool done() const { return reader_ && reading_.empty(); }
  // Up to `count` more tokens per row. Cancelled, it returns before the next token.
  void advance(int64_t count, const Cancel* cancel);
  // Throws if any tokens were to be drawn from non-finite logits.
  Generation result() const;
  const DecodeRow& row(int64_t index) const { return rows_[index]; }

 private:
  void begin();
  Tensor read_prompts();
  void drop_ended();

  std::shared_ptr<LanguageModel> model_;
  std::shared_ptr<Scope> scope_;
  Tensor prompts_, lengths_;  // [prompts, P], [prompts]
  GenerateOptions options_;
  std::shared_ptr<Readout> readout_;
  Tensor first_;  // [B, V], the logits after the prompts until they are drawn from
  std::unique_ptr<TokenReader> reader_;
  std::optional<DecodeLoop> loop_;
  std::vector<DecodeRow> rows_;      // [B]
  std::vector<DecodeRow*> reading_;  // those that are still computed
  int64_t steps_ = 0;
};

// Throws what a row whose logits were not finite means.
[[noreturn]] void refuse_numbers();

// Runs a batch to its end. Does not throw when cancelled: the caller knows that it cancelled.
Generation generate(const std::shared_ptr<LanguageModel>& model, const std::shared_ptr<Scope>& scope,
                    const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options, const Cancel* cancel,
                    const std::shared_ptr<Readout>& readout = nullptr);

}  // namespace palm
