// One answer, some tokens at a time. On the CPU it is a row of slots.h, so that a prompt that is streamed and one that
// is served have the same answer, bit for bit; elsewhere it is a batch of one row, which the fast readers there need.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "generation/batch.h"
#include "generation/slots.h"

namespace palm {

class TokenStream {
 public:
  // prompt [1, P]. `samples_per_prompt` and `pad_token` mean nothing here.
  TokenStream(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope, const Tensor& prompt,
              const GenerateOptions& options, std::shared_ptr<Readout> readout);

  struct Piece {
    std::vector<int64_t> tokens;
    std::vector<double> log_probs;
    bool done;
  };
  // Up to `count` more tokens. Cancelled, it returns before the next token. Throws if tokens were to be drawn from
  // non-finite logits.
  Piece advance(int64_t count, const Cancel* cancel);

 private:
  Piece advance_row(int64_t count, const Cancel* cancel);
  Piece advance_batch(int64_t count, const Cancel* cancel);
  void admit();

  std::shared_ptr<LanguageModel> model_;
  std::shared_ptr<Scope> scope_;
  Tensor prompt_;
  GenerateOptions options_;
  std::shared_ptr<Readout> readout_;
  std::optional<Slots> slots_;  // on the CPU, once the first tokens are asked for
  std::vector<int64_t> row_;    // the name of its row
  std::optional<Batch> batch_;  // elsewhere
  size_t told_ = 0;             // tokens of the batch that were returned
};

}  // namespace palm
