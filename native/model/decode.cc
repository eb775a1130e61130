#include "model/decode.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "base/shape.h"
#include "kernels/precision.h"
#include "model/lora.h"

namespace palm {

Decoder::Decoder(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope, const Tensor& prompts,
                 const Tensor& lengths, const GenerateOptions& options)
    : model_(std::move(model)),
      scope_(std::move(scope)),
      prompts_(prompts),
      lengths_(lengths),
      options_(options),
      generator_(make_generator(model_->options().device(), options.seed)) {}

Decoder::~Decoder() = default;

void Decoder::prefill() {
  prompts_ = model_->accept(prompts_, "prompts");
  const int64_t batch = prompts_.size(0), longest = prompts_.size(1);
  expect_shape(lengths_, "lengths", {batch});
  expect_range(lengths_, "lengths", 1, longest + 1, "A prompt needs a token, and cannot be longer than its row.");
  lengths_ = to_ids(lengths_, "lengths", prompts_.device());

  cache_ = model_->make_cache(batch, longest + options_.max_new_tokens);
  const Tensor hidden = model_->hidden(prompts_, {.scope = scope_.get(), .cache = &*cache_});
  cache_->advance(lengths_, longest);
  const Tensor last = (lengths_ - 1).view({batch, 1, 1}).expand({batch, 1, hidden.size(2)});
  logits_ = at::linear(hidden.gather(1, last).squeeze(1), model_->head());

  const int64_t samples = options_.samples_per_prompt;
  cache_->repeat_rows(samples);
  logits_ = logits_.repeat_interleave(samples, 0);
  prompts_ = prompts_.repeat_interleave(samples, 0);
  lengths_ = lengths_.repeat_interleave(samples, 0);
  alive_ = at::ones({batch * samples}, prompts_.options().dtype(at::kBool));
}

void Decoder::step() {
  if (!tokens_.empty()) {
    const Tensor hidden = model_->hidden(tokens_.back().unsqueeze(1), {.scope = scope_.get(), .cache = &*cache_});
    cache_->advance(at::ones({1}, lengths_.options()), 1);
    logits_ = at::linear(hidden.squeeze(1), model_->head());
  }
  const Draw draw = sample(logits_, {options_.temperature, options_.top_k, options_.top_p, options_.min_p}, generator_);
  tokens_.push_back(draw.token.masked_fill(alive_.logical_not(), options_.pad_token));
  log_probs_.push_back(draw.log_prob.masked_fill(alive_.logical_not(), 0));
  was_alive_.push_back(alive_);
  if (options_.eos_token) alive_ = alive_ & draw.token.ne(*options_.eos_token);
}

void Decoder::advance(int64_t count, const Cancel* cancel) {
  at::NoGradGuard no_grad;
  if (!cache_) prefill();
  // Asking a GPU whether any row is alive costs a synchronisation: every 16th token is enough, the rest is padding.
  const size_t poll = model_->options().device().is_cpu() ? 1 : 16;
  const FewRows routing;
  for (int64_t i = 0; i < count && !done_; ++i) {
    if (cancel && *cancel) return;
    step();
    const bool all_ended = options_.eos_token && tokens_.size() % poll == 0 && !alive_.any().item<bool>();
    done_ = all_ended || static_cast<int64_t>(tokens_.size()) == options_.max_new_tokens;
  }
}

Generation Decoder::result() const {
  const int64_t batch = prompts_.size(0), longest = prompts_.size(1);
  const int64_t steps = static_cast<int64_t>(tokens_.size()), width = longest + steps;
  const Tensor time = at::arange(width, lengths_.options());
  Tensor sequences = at::full({batch, width}, options_.pad_token, prompts_.options());
  sequences.narrow(1, 0, longest)
      .copy_(
          at::where(time.narrow(0, 0, longest).lt(lengths_.unsqueeze(1)), prompts_, sequences.narrow(1, 0, longest)));
  Tensor mask = at::zeros({batch, width}, alive_.options());
  if (steps == 0) return {sequences, mask, at::zeros({batch, width}, logits_.options())};

  const Tensor place = lengths_.unsqueeze(1) + at::arange(steps, lengths_.options());  // [B, steps]
  const Tensor log_prob = at::stack(log_probs_, 1);
  Tensor log_probs = at::zeros({batch, width}, log_prob.options());
  sequences.scatter_(1, place, at::stack(tokens_, 1));
  mask.scatter_(1, place, at::stack(was_alive_, 1));
  log_probs.scatter_(1, place, log_prob);
  const int64_t used = at::where(mask, time + 1, lengths_.unsqueeze(1)).max().item<int64_t>();
  return {sequences.narrow(1, 0, used).contiguous(), mask.narrow(1, 0, used).contiguous(),
          log_probs.narrow(1, 0, used).contiguous()};
}

std::vector<int64_t> Decoder::tokens_since(size_t first) const {
  std::vector<int64_t> values;
  for (size_t i = first; i < tokens_.size(); ++i) values.push_back(tokens_[i].item<int64_t>());
  return values;
}

std::vector<double> Decoder::log_probs_since(size_t first) const {
  std::vector<double> values;
  for (size_t i = first; i < log_probs_.size(); ++i) values.push_back(log_probs_[i].item<double>());
  return values;
}

Generation generate(const std::shared_ptr<LanguageModel>& model, const std::shared_ptr<Scope>& scope,
                    const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                    const Cancel* cancel) {
  Decoder decoder(model, scope, prompts, lengths, options);
  while (!decoder.done() && !(cancel && *cancel)) decoder.advance(16, cancel);
  at::NoGradGuard no_grad;
  return decoder.result();
}

}  // namespace palm
