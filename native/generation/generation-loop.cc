#include "generation/generation-loop.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "base/precision.h"
#include "base/shape.h"
#include "model/init.h"
#include "model/lora.h"

namespace palm {

GenerationLoop::GenerationLoop(std::shared_ptr<LanguageModel> model, std::shared_ptr<Scope> scope,
                               const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                               std::shared_ptr<Readout> readout)
    : model_(std::move(model)),
      scope_(std::move(scope)),
      prompts_(prompts),
      lengths_(lengths),
      options_(options),
      readout_(std::move(readout)),
      generator_(make_generator(model_->shape().options.device(), options.seed)) {}

GenerationLoop::~GenerationLoop() = default;

void GenerationLoop::check_tokens() const {
  model_->expect_tokens({options_.pad_token}, "padToken");
  model_->expect_tokens(options_.suppress, "suppress");
  for (const auto& sequence : options_.stop) model_->expect_tokens(sequence, "stop");
  const std::set suppressed(options_.suppress.begin(), options_.suppress.end());
  if (static_cast<int64_t>(suppressed.size()) == model_->shape().num_tokens)
    throw Error(ErrorKind::argument, "suppress", "every token of the vocabulary", "at least one token left to sample");
}

void GenerationLoop::prefill() {
  check_tokens();  // before the prompts: they may be padded with pad_token
  prompts_ = model_->accept(prompts_, "prompts");
  const int64_t batch = prompts_.size(0), longest = prompts_.size(1);
  expect_shape(lengths_, "lengths", {batch});
  expect_range(lengths_, "lengths", 1, longest + 1,
               "Each length must be at least 1 and at most the length of the row.");
  lengths_ = to_ids(lengths_, "lengths", prompts_.device());

  cache_ = model_->make_cache(batch, longest + options_.max_new_tokens);
  const Tensor hidden = model_->hidden(prompts_, {.scope = scope_.get(), .cache = &*cache_});
  cache_->advance(lengths_, longest);
  const Tensor last = (lengths_ - 1).view({batch, 1, 1}).expand({batch, 1, hidden.size(2)});
  logits_ = read(hidden.gather(1, last).squeeze(1));

  const int64_t samples = options_.samples_per_prompt;
  // A decode step computes logits, without the hidden states that a readout needs.
  if (!readout_) decode_step_ = model_->decode_step(scope_.get(), *cache_, samples, options_.int8);
  if (options_.int8 && !decode_step_)
    throw Error(ErrorKind::argument, "weights", readout_ ? "int8 with a readout" : "int8 for an unsupported model",
                readout_ ? "no weights option" : "a model on the CPU",
                "int8 requires fast decoding on the CPU, in evaluation mode: inspect the model to see which of its "
                "features has none.");
  if (decode_step_)
    cache_.reset();
  else
    cache_->repeat_rows(samples);
  logits_ = logits_.repeat_interleave(samples, 0);
  prompts_ = prompts_.repeat_interleave(samples, 0);
  lengths_ = lengths_.repeat_interleave(samples, 0);
  alive_ = at::ones({rows()}, prompts_.options().dtype(at::kBool));
  suppress_ = at::tensor(options_.suppress, prompts_.options());
  for (const auto& sequence : options_.stop) stop_.push_back(at::tensor(sequence, prompts_.options()).unsqueeze(1));
  tokens_ = at::full({options_.max_new_tokens, rows()}, options_.pad_token, prompts_.options());
  was_alive_ = at::zeros(tokens_.sizes(), alive_.options());
}

Tensor GenerationLoop::read(const Tensor& hidden) const {
  return readout_ ? readout_->logits(hidden) : model_->head(Gradients::none).logits(hidden);
}

void GenerationLoop::decode_next() {
  if (decode_step_) {
    logits_ = decode_step_->next_logits(next_);
    return;
  }
  const Tensor hidden = model_->hidden(next_.unsqueeze(1), {.scope = scope_.get(), .cache = &*cache_});
  cache_->advance(at::ones({1}, lengths_.options()), 1);
  logits_ = read(hidden.squeeze(1));
}

void GenerationLoop::keep(const Draw& draw) {
  const int64_t step = static_cast<int64_t>(steps_++);
  const Tensor ended = alive_.logical_not();
  next_ = draw.token.masked_fill_(ended, options_.pad_token);
  const Tensor log_prob = draw.log_prob.masked_fill_(ended, 0);
  if (!log_probs_.defined()) log_probs_ = at::zeros(tokens_.sizes(), log_prob.options());
  const auto put = [&](const Tensor& all, const Tensor& values) {
    left_.defined() ? all.select(0, step).index_copy_(0, left_, values) : all.select(0, step).copy_(values);
  };
  put(tokens_, next_);
  put(log_probs_, log_prob);
  put(was_alive_, alive_);
  if (ends_early()) alive_ = alive_ & ends().logical_not();
}

// [n] bool: which rows end with the token just sampled. Everything a live row has sampled so far is its response.
Tensor GenerationLoop::ends() const {
  Tensor ended = at::zeros_like(alive_);
  for (const int64_t token : options_.eos_tokens) ended = ended | next_.eq(token);
  const int64_t steps = static_cast<int64_t>(steps_);
  for (const Tensor& sequence : stop_) {
    const int64_t length = sequence.size(0);
    if (length > steps) continue;
    const Tensor last = tokens_.narrow(0, steps - length, length);  // [length, B]
    ended = ended | (left_.defined() ? last.index_select(1, left_) : last).eq(sequence).all(0);
  }
  return ended;
}

void GenerationLoop::step() {
  if (steps_ > 0) decode_next();
  Tensor uniform;
  if (!sampler().greedy()) {
    uniform = at::empty({rows()}, lengths_.options().dtype(at::kDouble)).uniform_(0, 1, generator_);
    if (left_.defined()) uniform = uniform.index_select(0, left_);
  }
  if (suppress_.size(0) > 0) logits_.index_fill_(1, suppress_, kNeverDrawn);
  keep(sample(logits_, sampler(), uniform));
}

void GenerationLoop::drop_ended(int64_t living) {
  if (living == 0 || 2 * living > alive_.size(0)) return;
  const Tensor index = alive_.nonzero().squeeze(1);
  left_ = left_.defined() ? left_.index_select(0, index) : index;
  next_ = next_.index_select(0, index);
  alive_ = alive_.index_select(0, index);
  decode_step_ ? decode_step_->keep_rows(index) : cache_->keep_rows(index);
}

void GenerationLoop::advance(int64_t count, const Cancel* cancel) {
  at::NoGradGuard no_grad;
  if (!logits_.defined()) prefill();
  if (decode_step_) decode_step_->refresh();
  // Asking a GPU whether any row is alive costs a synchronisation: every 16th token is enough; what is sampled after
  // the end is padding.
  const size_t poll = model_->shape().options.device().is_cpu() ? 1 : 16;
  const PreferMkl routing;
  for (int64_t i = 0; i < count && !done_; ++i) {
    if (cancel && *cancel) return;
    step();
    done_ = static_cast<int64_t>(steps_) == options_.max_new_tokens;
    if (!ends_early() || steps_ % poll != 0) continue;
    const int64_t living = alive_.sum().item<int64_t>();
    done_ = done_ || living == 0;
    drop_ended(living);
  }
}

Generation GenerationLoop::result() const {
  const int64_t batch = prompts_.size(0), longest = prompts_.size(1);
  const int64_t steps = static_cast<int64_t>(steps_), width = longest + steps;
  const Tensor time = at::arange(width, lengths_.options());
  Tensor sequences = at::full({batch, width}, options_.pad_token, prompts_.options());
  sequences.narrow(1, 0, longest)
      .copy_(
          at::where(time.narrow(0, 0, longest).lt(lengths_.unsqueeze(1)), prompts_, sequences.narrow(1, 0, longest)));
  Tensor mask = at::zeros({batch, width}, alive_.options());
  if (steps == 0) return {sequences, mask, at::zeros({batch, width}, logits_.options())};
  if (log_probs_.narrow(0, 0, steps).isnan().any().item<bool>()) refuse_numbers();

  const Tensor place = lengths_.unsqueeze(1) + at::arange(steps, lengths_.options());  // [B, steps]
  const auto drawn = [&](const Tensor& all) { return all.narrow(0, 0, steps).t(); };
  Tensor log_probs = at::zeros({batch, width}, log_probs_.options());
  sequences.scatter_(1, place, drawn(tokens_));
  mask.scatter_(1, place, drawn(was_alive_));
  log_probs.scatter_(1, place, drawn(log_probs_));
  const int64_t used = at::where(mask, time + 1, lengths_.unsqueeze(1)).max().item<int64_t>();
  return {sequences.narrow(1, 0, used).contiguous(), mask.narrow(1, 0, used).contiguous(),
          log_probs.narrow(1, 0, used).contiguous()};
}

// A GPU is polled only now and then for ended rows; meanwhile it samples padding.
bool GenerationLoop::was_alive(size_t step) const { return was_alive_[static_cast<int64_t>(step)][0].item<bool>(); }

std::vector<int64_t> GenerationLoop::tokens_since(size_t first) const {
  std::vector<int64_t> values;
  for (size_t i = first; i < steps_ && was_alive(i); ++i)
    values.push_back(tokens_[static_cast<int64_t>(i)][0].item<int64_t>());
  return values;
}

std::vector<double> GenerationLoop::log_probs_since(size_t first) const {
  std::vector<double> values;
  for (size_t i = first; i < steps_ && was_alive(i); ++i) {
    values.push_back(log_probs_[static_cast<int64_t>(i)][0].item<double>());
    if (std::isnan(values.back())) refuse_numbers();
  }
  return values;
}

void GenerationLoop::refuse_numbers() const {
  throw Error(ErrorKind::numerics, "logits", "non-finite numbers", "finite numbers",
              "The weights are so large that their products overflow: train again with a lower lr.");
}

Generation generate(const std::shared_ptr<LanguageModel>& model, const std::shared_ptr<Scope>& scope,
                    const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options, const Cancel* cancel,
                    const std::shared_ptr<Readout>& readout) {
  GenerationLoop loop(model, scope, prompts, lengths, options, readout);
  // At least one call, even if already cancelled: prefill the prompts so that result() is defined.
  do loop.advance(16, cancel);
  while (!loop.done() && !(cancel && *cancel));
  at::NoGradGuard no_grad;
  return loop.result();
}

}  // namespace palm
