#include "generation/token-stream.h"

#include <ATen/ops/full.h>

#include <utility>

namespace palm {

TokenStream::TokenStream(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope, const Tensor& prompt,
                         const GenerateOptions& options, std::shared_ptr<Readout> readout)
    : model_(std::move(model)),
      scope_(std::move(scope)),
      prompt_(prompt),
      options_(options),
      readout_(std::move(readout)) {}

TokenStream::Piece TokenStream::advance(int64_t count, const Cancel* cancel) {
  return model_->shape().options.device().is_cpu() ? advance_row(count, cancel) : advance_batch(count, cancel);
}

void TokenStream::admit() {
  options_.check(*model_);
  const Tensor ids = model_->accept(prompt_, "prompts").contiguous();
  const int64_t* const first = ids.const_data_ptr<int64_t>();
  const int64_t capacity = ids.numel() + options_.max_new_tokens;
  model_->expect_reach(capacity, "maxNewTokens");
  slots_.emplace(model_, 1, capacity, options_.suppress, options_.int8, readout_);
  const auto never = std::make_shared<Cancel>(false);
  row_ = slots_->admit({first, first + ids.numel()}, scope_, {options_.row(0)}, {never}).rows;
}

TokenStream::Piece TokenStream::advance_row(int64_t count, const Cancel* cancel) {
  const bool reads = !slots_;  // reading the prompt draws the first token
  if (reads) admit();
  Piece piece{};
  for (int64_t i = 0; i < count && !piece.done && !(cancel && *cancel); ++i)
    for (const RowProgress& now : slots_->advance(row_, prompt_.numel(), reads && i == 0 ? 0 : 1)) {
      piece.tokens.insert(piece.tokens.end(), now.tokens.begin(), now.tokens.end());
      piece.log_probs.insert(piece.log_probs.end(), now.log_probs.begin(), now.log_probs.end());
      piece.done = now.ended != Ended::no;
      if (now.ended == Ended::numbers) refuse_numbers();
    }
  return piece;
}

TokenStream::Piece TokenStream::advance_batch(int64_t count, const Cancel* cancel) {
  if (!batch_) {
    const Tensor lengths = at::full({1}, prompt_.numel(), at::kLong);
    batch_.emplace(model_, scope_, prompt_, lengths, options_, readout_);
  }
  batch_->advance(count, cancel);
  const DecodeRow& row = batch_->row(0);
  if (row.ended == Ended::numbers) refuse_numbers();
  const auto since = std::exchange(told_, row.tokens.size());
  return {.tokens = {row.tokens.begin() + since, row.tokens.end()},
          .log_probs = {row.log_probs.begin() + since, row.log_probs.end()},
          .done = batch_->done()};
}

}  // namespace palm
