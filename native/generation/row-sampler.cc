#include "generation/row-sampler.h"

#include <ATen/core/PhiloxRNGEngine.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>

#include <algorithm>

namespace palm {

double uniform_of(int64_t seed, int64_t sample, int64_t step) {
  at::Philox4_32 engine(static_cast<uint64_t>(seed), static_cast<uint64_t>(sample), static_cast<uint64_t>(step));
  const uint64_t high = engine() >> 5, low = engine() >> 6;  // 53 bits
  return static_cast<double>(high << 26 | low) * 0x1p-53;
}

RowSampler::RowSampler(RowOptions options, const std::vector<int64_t>& prompt) : options_(std::move(options)) {
  if (options_.repetition_penalty != 1) prompt_.insert(prompt.begin(), prompt.end());
  for (const auto& sequence : options_.stop) longest_stop_ = std::max(longest_stop_, sequence.size());
}

double RowSampler::uniform(int64_t ahead) const { return uniform_of(options_.seed, options_.sample, steps_ + ahead); }

bool RowSampler::stopped() const {
  const auto ends = [&](const std::vector<int64_t>& sequence) {
    return sequence.size() <= recent_.size() && std::equal(sequence.rbegin(), sequence.rend(), recent_.rbegin());
  };
  return std::ranges::count(options_.end_tokens, recent_.back()) > 0 || std::ranges::any_of(options_.stop, ends);
}

bool RowSampler::penalises() const {
  return options_.frequency_penalty != 0 || options_.presence_penalty != 0 || options_.repetition_penalty != 1;
}

bool RowSampler::adjusts() const {
  return penalises() || !options_.bias_tokens.empty() || steps_ < options_.min_tokens;
}

void RowSampler::accept(int64_t token) {
  if (penalises()) ++generated_[token];
  if (recent_.size() == longest_stop_) recent_.erase(recent_.begin());
  recent_.push_back(token);
  ++steps_;
}

// A copy of logits [V] in float32 with penalties and bias.
Tensor RowSampler::adjusted(const Tensor& logits) const {
  const Tensor own = logits.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  float* const numbers = own.mutable_data_ptr<float>();
  const auto repeated = [&](int64_t token) {
    const float penalty = static_cast<float>(options_.repetition_penalty);
    numbers[token] = numbers[token] > 0 ? numbers[token] / penalty : numbers[token] * penalty;
  };
  if (options_.repetition_penalty != 1) {
    for (const int64_t token : prompt_) repeated(token);
    for (const auto& [token, _] : generated_)
      if (!prompt_.contains(token)) repeated(token);
  }
  for (const auto& [token, count] : generated_)
    numbers[token] -=
        static_cast<float>(options_.frequency_penalty * static_cast<double>(count) + options_.presence_penalty);
  for (size_t i = 0; i < options_.bias_tokens.size(); ++i)
    numbers[options_.bias_tokens[i]] += static_cast<float>(options_.bias[i]);
  if (steps_ < options_.min_tokens)
    for (const int64_t token : options_.end_tokens) numbers[token] = static_cast<float>(kNeverDrawn);
  return own;
}

static std::vector<int64_t> list(const Tensor& tokens) {
  return {tokens.const_data_ptr<int64_t>(), tokens.const_data_ptr<int64_t>() + tokens.numel()};
}

static ModelLogProbs model_log_probs(const Tensor& logits, int64_t token, int64_t count) {
  const Tensor all = at::log_softmax(logits, -1, at::kFloat);
  const auto [values, tokens] = all.topk(std::min(count, all.numel()), -1);
  const float* const top = values.const_data_ptr<float>();
  return {.token = all.const_data_ptr<float>()[token], .top_tokens = list(tokens), .top = {top, top + values.numel()}};
}

RowDraw RowSampler::draw(const Tensor& logits) const {
  const Tensor number = at::tensor({uniform(0)}, at::kDouble);
  const Tensor own = adjusts() ? adjusted(logits) : logits;
  const Draw one = sample(own.unsqueeze(0), options_.sampler(), number);
  RowDraw draw{one.token.item<int64_t>(), one.log_prob.item<double>(), {}};
  if (options_.top) draw.model = model_log_probs(logits, draw.token, *options_.top);
  return draw;
}

}  // namespace palm
