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
}

bool RowSampler::ends_with(int64_t token) const { return std::ranges::count(options_.end_tokens, token) > 0; }

// Whether a row draws from other logits than the model's.
bool RowSampler::adjusts() const {
  return options_.frequency_penalty != 0 || options_.presence_penalty != 0 || options_.repetition_penalty != 1 ||
         !options_.bias_tokens.empty() || steps_ < options_.min_tokens;
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

RowDraw RowSampler::draw(const Tensor& logits) {
  const Tensor uniform = at::tensor({uniform_of(options_.seed, options_.sample, steps_)}, at::kDouble);
  const Tensor own = adjusts() ? adjusted(logits) : logits;
  const Draw one = sample(own.unsqueeze(0), options_.sampler(), uniform);
  RowDraw draw{one.token.item<int64_t>(), one.log_prob.item<double>(), {}};
  if (options_.top) draw.model = model_log_probs(logits, draw.token, *options_.top);
  ++generated_[draw.token];
  ++steps_;
  return draw;
}

}  // namespace palm
