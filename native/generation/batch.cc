#include "generation/batch.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/precision.h"
#include "base/shape.h"
#include "generation/batch-reader.h"
#include "model/kv-cache.h"

namespace palm {

RowOptions GenerateOptions::row(int64_t index) const {
  return {.temperature = temperature,
          .top_k = top_k,
          .top_p = top_p,
          .min_p = min_p,
          .frequency_penalty = 0,
          .presence_penalty = 0,
          .repetition_penalty = 1,
          .bias_tokens = {},
          .bias = {},
          .end_tokens = eos_tokens,
          .stop = stop,
          .min_tokens = 0,
          .max_tokens = max_new_tokens,
          .top = {},
          .seed = seed,
          .sample = index};
}

void GenerateOptions::check(const LanguageModel& model) const {
  model.expect_tokens({pad_token}, "padToken");
  model.expect_tokens(suppress, "suppress");
  for (const auto& sequence : stop) model.expect_tokens(sequence, "stop");
  const std::set suppressed(suppress.begin(), suppress.end());
  if (static_cast<int64_t>(suppressed.size()) == model.shape().num_tokens)
    throw Error(ErrorKind::argument, "suppress", "every token of the vocabulary", "at least one token left to sample");
}

Batch::Batch(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope, const Tensor& prompts,
             const Tensor& lengths, const GenerateOptions& options, std::shared_ptr<Readout> readout)
    : model_(std::move(model)),
      scope_(std::move(scope)),
      prompts_(prompts),
      lengths_(lengths),
      options_(options),
      readout_(std::move(readout)) {}

// Returns the logits [B, V] that follow the prompts.
Tensor Batch::read_prompts() {
  options_.check(*model_);  // before the prompts: they may be padded with pad_token
  prompts_ = model_->accept(prompts_, "prompts");
  const int64_t batch = prompts_.size(0), longest = prompts_.size(1), samples = options_.samples_per_prompt;
  expect_shape(lengths_, "lengths", {batch});
  expect_range(lengths_, "lengths", 1, longest + 1,
               "Each length must be at least 1 and at most the length of the row.");
  lengths_ = to_ids(lengths_, "lengths", prompts_.device());

  KvCache cache = model_->make_cache(batch, longest + options_.max_new_tokens);
  const Tensor hidden = model_->hidden(prompts_, {.scope = scope_.get(), .cache = &cache});
  cache.advance(lengths_, longest);
  const Tensor last = (lengths_ - 1).view({batch, 1, 1}).expand({batch, 1, hidden.size(2)});
  const Tensor logits = model_->logits(hidden.gather(1, last).squeeze(1), readout_.get());
  // The fast readers compute logits, without the hidden states that a readout needs.
  if (!readout_) reader_ = model_->reader_behind(cache, samples, options_.int8);
  if (options_.int8 && !reader_) throw int8_unsupported(readout_ != nullptr);
  if (!reader_) {
    cache.repeat_rows(samples);
    reader_ = std::make_unique<BatchReader>(*model_, std::move(cache), readout_);
  }
  loop_.emplace(*reader_, options_.suppress, prompts_.device());
  return logits.repeat_interleave(samples, 0);
}

void Batch::begin() {
  first_ = read_prompts();
  const Tensor lengths = lengths_.to(at::kCPU).repeat_interleave(options_.samples_per_prompt);
  rows_.reserve(lengths.numel());  // pointers to rows stay valid
  for (int64_t i = 0; i < lengths.numel(); ++i) {
    rows_.push_back({.slot = i,
                     .scope = scope_,
                     .sampler = RowSampler(options_.row(i), {}),
                     .length = lengths.const_data_ptr<int64_t>()[i]});
    reading_.push_back(&rows_.back());
  }
}

// Rows that have ended are left out: at once, or, where that copies the cache, when at most half of the rows live.
void Batch::drop_ended() {
  std::vector<DecodeRow*> living;
  for (DecodeRow* row : reading_)
    if (row->ended == Ended::no) living.push_back(row);
  if (living.empty() || reader_->drops_freely() || 2 * living.size() <= reading_.size()) reading_ = std::move(living);
}

void Batch::advance(int64_t count, const Cancel* cancel) {
  at::NoGradGuard no_grad;
  if (!reader_) begin();
  reader_->refresh();
  const PreferMkl routing;
  for (int64_t drawn = 0; drawn < count && !done() && !(cancel && *cancel);) {
    int64_t steps = 1;
    if (steps_ == 0)
      loop_->draw(reading_, first_);
    else
      steps = loop_->step(reading_, std::min(count - drawn, options_.max_new_tokens - steps_));
    drawn += steps;
    steps_ += steps;
    drop_ended();
  }
}

Generation Batch::result() const {
  const Tensor prompts = prompts_.to(at::kCPU).contiguous(), lengths = lengths_.to(at::kCPU).contiguous();
  const int64_t batch = static_cast<int64_t>(rows_.size()), longest = prompts.size(1);
  const auto length = [&](int64_t row) { return lengths.const_data_ptr<int64_t>()[row / options_.samples_per_prompt]; };
  int64_t width = 0;
  for (int64_t i = 0; i < batch; ++i) {
    if (rows_[i].ended == Ended::numbers) refuse_numbers();
    width = std::max(width, length(i) + static_cast<int64_t>(rows_[i].tokens.size()));
  }
  const Tensor sequences = at::full({batch, width}, options_.pad_token, at::kLong);
  const Tensor mask = at::zeros({batch, width}, at::kBool), log_probs = at::zeros({batch, width}, at::kDouble);
  for (int64_t i = 0; i < batch; ++i) {
    const int64_t* const prompt = prompts.const_data_ptr<int64_t>() + i / options_.samples_per_prompt * longest;
    const int64_t end = i * width + length(i), count = static_cast<int64_t>(rows_[i].tokens.size());
    std::copy_n(prompt, length(i), sequences.mutable_data_ptr<int64_t>() + i * width);
    std::ranges::copy(rows_[i].tokens, sequences.mutable_data_ptr<int64_t>() + end);
    std::fill_n(mask.mutable_data_ptr<bool>() + end, count, true);
    std::ranges::copy(rows_[i].log_probs, log_probs.mutable_data_ptr<double>() + end);
  }
  const at::TensorOptions own = model_->shape().options;
  const at::ScalarType dtype = own.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  return {sequences.to(own.device()), mask.to(own.device()), log_probs.to(own.device(), dtype)};
}

void refuse_numbers() {
  throw Error(ErrorKind::numerics, "logits", "non-finite numbers", "finite numbers",
              "The weights are so large that their products overflow: train again with a lower lr.");
}

Generation generate(const std::shared_ptr<LanguageModel>& model, const std::shared_ptr<Scope>& scope,
                    const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options, const Cancel* cancel,
                    const std::shared_ptr<Readout>& readout) {
  Batch batch(model, scope, prompts, lengths, options, readout);
  // At least one call, even if already cancelled: the prompts are read, so that result() is defined.
  do batch.advance(options.max_new_tokens, cancel);
  while (!batch.done() && !(cancel && *cancel));
  at::NoGradGuard no_grad;
  return batch.result();
}

}  // namespace palm
