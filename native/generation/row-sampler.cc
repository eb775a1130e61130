#include "generation/row-sampler.h"

#include <ATen/core/PhiloxRNGEngine.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace palm {

constexpr float kRemoved = -std::numeric_limits<float>::infinity();

double uniform_of(int64_t seed, int64_t sample, int64_t step) {
  at::Philox4_32 engine(static_cast<uint64_t>(seed), static_cast<uint64_t>(sample), static_cast<uint64_t>(step));
  const uint64_t high = engine() >> 5, low = engine() >> 6;  // 53 bits
  return static_cast<double>(high << 26 | low) * 0x1p-53;
}

RowSampler::RowSampler(RowOptions options, const std::vector<int64_t>& prompt) : options_(std::move(options)) {
  if (options_.repetition_penalty != 1) prompt_.insert(prompt.begin(), prompt.end());
}

bool RowSampler::ends_with(int64_t token) const { return std::ranges::count(options_.end_tokens, token) > 0; }

// --- filters: they remove logits of a row, as filters.h does with a batch

// The indices of the `count` largest logits, the largest first, of equal ones the first.
static std::vector<int64_t> largest(const float* logits, int64_t width, int64_t count) {
  std::vector<int64_t> index(width);
  std::iota(index.begin(), index.end(), 0);
  const auto before = [logits](int64_t a, int64_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  };
  count = std::min(count, width);
  if (count < width) std::nth_element(index.begin(), index.begin() + count, index.end(), before);
  index.resize(count);
  std::ranges::sort(index, before);
  return index;
}

static void keep_only(float* logits, int64_t width, const std::vector<int64_t>& kept) {
  std::vector<float> values;
  for (const int64_t token : kept) values.push_back(logits[token]);
  std::fill_n(logits, width, kRemoved);
  for (size_t i = 0; i < kept.size(); ++i) logits[kept[i]] = values[i];
}

static double weight_of(float logit, float top) { return std::exp(static_cast<double>(logit - top)); }

static void keep_top_p(Tensor& logits, double p) {
  float* const numbers = logits.mutable_data_ptr<float>();
  const int64_t width = logits.numel();
  const float top = logits.max().item<float>();
  const double total = logits.sub(top).exp_().sum(at::kDouble).item<double>();
  for (int64_t count = 64;; count *= 8) {
    std::vector<int64_t> kept = largest(numbers, width, count);
    double before = 0;
    size_t n = 0;
    for (; n < kept.size() && (n == 0 || before < p * total); ++n) before += weight_of(numbers[kept[n]], top);
    if (n == kept.size() && count < width && before < p * total) continue;
    kept.resize(n);
    return keep_only(numbers, width, kept);
  }
}

static void keep_min_p(Tensor& logits, double p) {
  logits.masked_fill_(logits.lt(logits.max() + std::log(p)), kRemoved);
}

// --- drawing

void RowSampler::adjust(float* logits) const {
  const auto repeated = [&](int64_t token) {
    const float penalty = static_cast<float>(options_.repetition_penalty);
    logits[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
  };
  if (options_.repetition_penalty != 1) {
    for (const int64_t token : prompt_) repeated(token);
    for (const auto& [token, count] : generated_)
      if (!prompt_.contains(token)) repeated(token);
  }
  for (const auto& [token, count] : generated_)
    logits[token] -=
        static_cast<float>(options_.frequency_penalty * static_cast<double>(count) + options_.presence_penalty);
  for (size_t i = 0; i < options_.bias_tokens.size(); ++i)
    logits[options_.bias_tokens[i]] += static_cast<float>(options_.bias[i]);
  if (steps_ < options_.min_tokens)
    for (const int64_t token : options_.end_tokens) logits[token] = kRemoved;
}

// Whether a row draws from its logits as they are, but for the temperature.
bool RowSampler::plain() const {
  const SamplerOptions by = options_.sampler();
  return !by.top_k && !by.top_p && !by.min_p && options_.frequency_penalty == 0 && options_.presence_penalty == 0 &&
         options_.repetition_penalty == 1 && options_.bias_tokens.empty() && steps_ >= options_.min_tokens;
}

// The first token at which the cumulative weight exceeds `uniform` of the total.
static RowDraw pick(const Tensor& logits, double uniform) {
  const Tensor log_prob = at::log_softmax(logits, -1, at::kDouble);
  const double* const log_probs = log_prob.const_data_ptr<double>();
  double total = 0, sum = 0;
  for (int64_t i = 0; i < logits.numel(); ++i) total += std::exp(log_probs[i]);
  int64_t last = 0;
  for (int64_t i = 0; i < logits.numel(); ++i) {
    const double weight = std::exp(log_probs[i]);
    if (weight == 0) continue;
    last = i;
    if ((sum += weight) > uniform * total) break;
  }
  return {last, log_probs[last], {}};
}

// From adjusted and filtered logits.
RowDraw RowSampler::drawn(const Tensor& logits, double uniform) const {
  const SamplerOptions by = options_.sampler();
  Tensor own = logits.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  adjust(own.mutable_data_ptr<float>());
  if (by.greedy()) return {own.argmax(-1).item<int64_t>(), 0, {}};
  own.div_(by.temperature);
  if (by.top_k)
    keep_only(own.mutable_data_ptr<float>(), own.numel(), largest(own.const_data_ptr<float>(), own.numel(), *by.top_k));
  if (by.top_p) keep_top_p(own, *by.top_p);
  if (by.min_p) keep_min_p(own, *by.min_p);
  return pick(own, uniform);
}

static ModelLogProbs model_log_probs(const Tensor& logits, int64_t token, int64_t count) {
  const Tensor all = at::log_softmax(logits, -1, at::kFloat);
  const float* const log_probs = all.const_data_ptr<float>();
  ModelLogProbs found{.token = log_probs[token], .top_tokens = {}, .top = {}};
  if (count > 0) found.top_tokens = largest(log_probs, all.numel(), count);
  for (const int64_t one : found.top_tokens) found.top.push_back(log_probs[one]);
  return found;
}

RowDraw RowSampler::draw(const Tensor& logits) {
  const double uniform = uniform_of(options_.seed, options_.sample, steps_);
  RowDraw draw;
  if (plain()) {
    const Draw one = sample(logits.unsqueeze(0), options_.sampler(), at::tensor(uniform, at::kDouble).unsqueeze(0));
    draw = {one.token.item<int64_t>(), one.log_prob.item<double>(), {}};
  } else {
    draw = drawn(logits, uniform);
    draw.log_prob += logits.sub(logits).sum().item<double>();  // 0, or NaN if any logit is not finite
  }
  if (options_.top) draw.model = model_log_probs(logits, draw.token, *options_.top);
  ++generated_[draw.token];
  ++steps_;
  return draw;
}

}  // namespace palm
