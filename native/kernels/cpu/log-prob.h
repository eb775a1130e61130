#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

static inline float log(float x) { return __builtin_logf(x); }

// entropy = −Σ p log p = lse − Σ p z,  z = logits / temperature. Makes two passes over a row, which fits the cache.
template <class T>
void log_prob(const LogProbArgs& args, int64_t begin, int64_t end) {
  const float inverse = args.inverse_temperature;
  for (int64_t row = begin; row < end; ++row) {
    const T* logits = static_cast<const T*>(args.logits) + row * args.width;
    const auto z = [&](int64_t i, int64_t n) { return load(logits + i, n) * inverse; };
    Vec largest = all(z(0, 1)[0]);
    int64_t i = 0;
    for (; i + kLanes <= args.width; i += kLanes) largest = maximum(largest, z(i, kLanes));
    float top = maximum(largest);
    for (; i < args.width; ++i) top = z(i, 1)[0] > top ? z(i, 1)[0] : top;

    Vec mass{}, weighted{};
    for (i = 0; i + kLanes <= args.width; i += kLanes) {
      const Vec shifted = z(i, kLanes) - top, p = exp(shifted);
      mass += p;
      weighted += p == 0.0f ? Vec{} : p * shifted;  // treats 0 · −∞ as 0
    }
    float total = sum(mass), mean = sum(weighted);
    for (; i < args.width; ++i) {
      const float shifted = z(i, 1)[0] - top, p = exp(all(shifted))[0];
      total += p;
      mean += p == 0.0f ? 0.0f : p * shifted;
    }
    const float log_total = log(total);
    args.lse[row] = top + log_total;
    const int64_t target = args.target[row];
    args.log_prob[row] = target < 0 ? 0.0f : z(target, 1)[0] - args.lse[row];
    if (args.entropy) args.entropy[row] = log_total - mean / total;
  }
}

// ∂log_prob/∂z = onehot − p,  ∂entropy/∂z = −p (log p + entropy); logits are z · temperature.
template <class T>
void log_prob_grad(const LogProbGradArgs& args, int64_t begin, int64_t end) {
  const float inverse = args.inverse_temperature;
  for (int64_t row = begin; row < end; ++row) {
    T* logits = static_cast<T*>(args.logits) + row * args.width;
    const int64_t target = args.target[row];
    const float of_log_prob = target < 0 ? 0.0f : args.dlog_prob[row] * inverse;
    const float of_entropy = args.dentropy ? args.dentropy[row] * inverse : 0.0f;
    const float lse = args.lse[row], entropy = args.entropy ? args.entropy[row] : 0.0f;
    const float at_target = target < 0 ? 0.0f : load(logits + target, 1)[0];
    const auto gradient = [&](Vec logit) {
      const Vec log_p = logit * inverse - lse, p = exp(log_p);
      return p == 0.0f ? Vec{} : -p * (of_log_prob + of_entropy * (log_p + entropy));
    };
    each(args.width, [&](int64_t i, int64_t n) { store(logits + i, gradient(load(logits + i, n)), n); });
    if (target >= 0) store(logits + target, gradient(all(at_target)) + of_log_prob, 1);
  }
}

}  // namespace palm::cpu::PALM_ISA
