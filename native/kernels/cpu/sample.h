#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/token-kernels.h"

namespace palm::cpu::PALM_ISA {

template <class T>
struct Distribution {
  const T* logits;
  int64_t width;
  float inverse_temperature, top;  // top: the max logit

  Vec weight(int64_t i, int64_t n) const {
    const Vec w = exp((load(logits + i, n) - top) * inverse_temperature);
    if (n == kLanes) return w;
    Vec kept{};
    for (int64_t lane = 0; lane < n; ++lane) kept[lane] = w[lane];
    return kept;
  }
  // The total weight of the run of tokens that starts at `first`.
  double mass(int64_t first, int64_t count) const {
    Vec total{};
    each(count, [&](int64_t i, int64_t n) { total += weight(first + i, n); });
    return static_cast<double>(sum(total));
  }
};

// The first token at which the cumulative weight exceeds `share` of the total: finds the run first, then the token in
// it.
template <class T>
static int64_t token_at(const Distribution<T>& from, double share, double* all_mass) {
  constexpr int64_t kRun = 8 * kLanes;
  const auto length = [&](int64_t first) { return from.width - first < kRun ? from.width - first : kRun; };
  double total = 0;
  for (int64_t first = 0; first < from.width; first += kRun) total += from.mass(first, length(first));
  *all_mass = total;

  const double wanted = share * total;
  double before = 0;
  int64_t run = 0, next = 0;  // the last run with any weight before the goal is reached
  for (int64_t first = 0; first < from.width && before <= wanted; first += kRun) {
    const double mass = from.mass(first, length(first));
    if (mass > 0) run = first, next = first + length(first);
    if (before + mass > wanted) break;
    before += mass;
  }
  int64_t last = run;
  for (int64_t i = run; i < next; ++i) {
    const double weight = static_cast<double>(from.weight(i, 1)[0]);
    if (weight <= 0) continue;
    last = i;
    before += weight;
    if (before > wanted) break;
  }
  return last;
}

// The index of the max logit, the first one if there are several. `top` is NaN if any logit is not finite.
template <class T>
static int64_t likeliest(const T* logits, int64_t width, float* top) {
  Vec largest = all(-__builtin_inff()), doubt{};  // x - x is 0, or NaN
  each(width, [&](int64_t i, int64_t n) {
    const Vec x = load(logits + i, n);
    doubt += x - x;
    for (int64_t lane = 0; lane < kLanes && n < kLanes; ++lane)
      if (lane < n && x[lane] > largest[lane]) largest[lane] = x[lane];
    if (n == kLanes) largest = maximum(x, largest);
  });
  *top = maximum(largest) + sum(doubt);
  for (int64_t i = 0; i < width; ++i)
    if (load(logits + i, 1)[0] == *top) return i;
  return 0;
}

template <class T>
void sample(const SampleArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* const logits = static_cast<const T*>(args.logits) + row * args.width;
    float top;
    const int64_t best = likeliest(logits, args.width, &top);
    args.token[row] = best;
    args.log_prob[row] = top - top;
    if (args.inverse_temperature == 0) continue;
    const Distribution<T> from{logits, args.width, args.inverse_temperature, top};
    double total;
    const int64_t token = token_at(from, args.uniform[row], &total);
    args.token[row] = token;
    args.log_prob[row] =
        (load(logits + token, 1)[0] - top) * args.inverse_temperature - static_cast<float>(__builtin_log(total));
  }
}

template <class T>
void weigh(const WeighArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* const logits = static_cast<const T*>(args.logits) + row * args.width;
    float* const weights = args.weights + row * args.width;
    likeliest(logits, args.width, &args.top[row]);
    const Distribution<T> from{logits, args.width, args.inverse_temperature, args.top[row]};
    each(args.width, [&](int64_t i, int64_t n) { store(weights + i, from.weight(i, n), n); });
  }
}

}  // namespace palm::cpu::PALM_ISA
