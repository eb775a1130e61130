#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

template <class T>
void adam_w(const AdamWArgs& args, int64_t begin, int64_t end) {
  if (*args.broken != 0.0f) return;
  T* parameter = static_cast<T*>(args.parameter);
  const float scale = 1.0f / *args.divisor;
  const float first = 1.0f - __builtin_powf(args.beta1, *args.step),
              second = 1.0f - __builtin_powf(args.beta2, *args.step);
  const float size = args.lr / first, root = 1.0f / __builtin_sqrtf(second), decay = 1.0f - args.lr * args.weight_decay;
  const auto update = [&](int64_t i, int64_t n) {
    const Vec g = load(args.gradient + i, n) * scale;
    const Vec m = load(args.exp_avg + i, n) * args.beta1 + g * (1.0f - args.beta1);
    const Vec v = load(args.exp_avg_sq + i, n) * args.beta2 + g * g * (1.0f - args.beta2);
    const Vec before = args.weight ? load(args.weight + i, n) : load(parameter + i, n);
    const Vec after = before * decay - size * m / (square_root(v) * root + args.eps);
    store(args.exp_avg + i, m, n);
    store(args.exp_avg_sq + i, v, n);
    if (args.weight) store(args.weight + i, after, n);
    store(parameter + i, after, n);
  };
  each(end - begin, [&](int64_t i, int64_t n) { update(begin + i, n); });
}

}  // namespace palm::cpu::PALM_ISA
