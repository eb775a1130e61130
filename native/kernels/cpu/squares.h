#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

// Sums short runs in float and the runs in double, so that the norm of a million gradients keeps its precision.
template <class T>
void squares(const SquaresArgs& args, int64_t begin, int64_t end) {
  constexpr int64_t kRun = 1024;
  const T* x = static_cast<const T*>(args.x);
  for (int64_t from = begin; from < end; from += kRun) {
    Vec total{};
    each(end - from < kRun ? end - from : kRun, [&](int64_t i, int64_t n) {
      const Vec value = load(x + from + i, n);
      total += value * value;
    });
    *args.total += static_cast<double>(sum(total));
  }
}

}  // namespace palm::cpu::PALM_ISA
