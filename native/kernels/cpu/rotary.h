#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

template <class T>
void rotate_head(T* x, const float* cos, const float* sin, int64_t half, float sign) {
  each(half, [&](int64_t i, int64_t n) {
    const Vec a = load(x + i, n), b = load(x + half + i, n), c = load(cos + i, n), s = load(sin + i, n) * sign;
    store(x + i, a * c - b * s, n);
    store(x + half + i, b * c + a * s, n);
  });
}

template <class T>
void rotate(const RotateArgs& args, int64_t begin, int64_t end) {
  const int64_t half = args.width / 2;
  const float sign = args.inverse ? -1.0f : 1.0f;
  for (int64_t row = begin; row < end; ++row) {
    T* const query = static_cast<T*>(args.x) + row * args.stride;
    T* const key = query + args.heads * args.head;
    const int64_t at = row % args.time * half;
    for (int64_t h = 0; h < args.heads; ++h)
      rotate_head(query + h * args.head, args.query_cos + at, args.query_sin + at, half, sign);
    for (int64_t h = 0; h < args.kv_heads; ++h)
      rotate_head(key + h * args.head, args.key_cos + at, args.key_sin + at, half, sign);
  }
}

}  // namespace palm::cpu::PALM_ISA
