#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

template <class T>
void swiglu(const SwigluArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* value = static_cast<const T*>(args.x) + row * args.x_stride;
    const T* gate = value + args.width;
    T* y = static_cast<T*>(args.y) + row * args.y_stride;
    each(args.width, [&](int64_t i, int64_t n) {
      const Vec g = load(gate + i, n);
      store(y + i, load(value + i, n) * g * sigmoid(g), n);
    });
  }
}

// d value = dy silu(g),  d gate = dy value σ(g) (1 + g (1 − σ(g))).
template <class T>
void swiglu_grad(const SwigluGradArgs& args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  for (int64_t row = begin; row < end; ++row) {
    const T* value = static_cast<const T*>(args.x) + row * args.x_stride;
    const T* dy = static_cast<const T*>(args.dy) + row * args.dy_stride;
    T* dvalue = static_cast<T*>(args.dx) + row * args.dx_stride;
    T* y = args.y ? static_cast<T*>(args.y) + row * args.y_stride : nullptr;
    each(width, [&](int64_t i, int64_t n) {
      const Vec v = load(value + i, n), g = load(value + width + i, n), d = load(dy + i, n), s = sigmoid(g);
      store(dvalue + i, d * g * s, n);
      store(dvalue + width + i, d * v * s * (1.0f + g * (1.0f - s)), n);
      if (y) store(y + i, v * g * s, n);
    });
  }
}

}  // namespace palm::cpu::PALM_ISA
