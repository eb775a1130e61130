#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

static inline int64_t start_of(const RowsWithin& rows, int64_t row, int64_t width) {
  return rows.group == 1 ? row * rows.stride : row / rows.group * rows.stride + row % rows.group * width;
}

// The scale weight + offset, or 1.
template <class T>
static inline Vec scale_of(const T* weight, float offset, int64_t i, int64_t n) {
  return weight ? load(weight + i, n) + offset : all(1.0f);
}

template <class T>
static float mean_of(const T* x, int64_t width) {
  Vec total{};
  each(width, [&](int64_t i, int64_t n) { total += load(x + i, n); });
  return sum(total) / width;
}

// Σ (x − mean)²: not E[x²] − mean², which suffers from cancellation.
template <class T>
static float squared_deviations(const T* x, float mean, int64_t width) {
  Vec squares{};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    const Vec deviation = load(x + i) - mean;
    squares += deviation * deviation;
  }
  float square = sum(squares);
  for (; i < width; ++i) {
    const float deviation = load(x + i, 1)[0] - mean;
    square += deviation * deviation;
  }
  return square;
}

// rms is layer around 0 instead of the mean.
template <class T>
void norm(const NormArgs& args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const T* const weight = static_cast<const T*>(args.weight);
  const T* const bias = static_cast<const T*>(args.bias);
  for (int64_t row = begin; row < end; ++row) {
    const T* const x = static_cast<const T*>(args.x) + start_of(args.x_rows, row, width);
    T* const y = static_cast<T*>(args.y) + start_of(args.y_rows, row, width);
    const float mean = args.kind == NormKind::layer ? mean_of(x, width) : 0.0f;
    const float rstd = 1.0f / __builtin_sqrtf(squared_deviations(x, mean, width) / width + args.eps);
    each(width, [&](int64_t i, int64_t n) {
      const Vec scaled = (load(x + i, n) - mean) * rstd * scale_of(weight, args.offset, i, n);
      store(y + i, bias ? scaled + load(bias + i, n) : scaled, n);
    });
    if (args.mean) args.mean[row] = mean;
    args.rstd[row] = rstd;
  }
}

static inline void accumulate(float* to, Vec x, int64_t n) { store(to, load(to, n) + x, n); }

// With x̂ = (x − mean) rstd and g = dy (weight + offset):  dx = rstd (g − mean(g) − x̂ mean(g x̂)), where rms has no
// mean(g);  dweight = Σ dy x̂,  dbias = Σ dy.
template <class T>
void norm_grad(const NormGradArgs& args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const bool centred = args.kind == NormKind::layer;
  const T* const weight = static_cast<const T*>(args.weight);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t to = start_of(args.dx_rows, row, width);
    const T* const x = static_cast<const T*>(args.x) + start_of(args.x_rows, row, width);
    const T* const dy = static_cast<const T*>(args.dy) + start_of(args.dy_rows, row, width);
    const T* const residual = args.residual ? static_cast<const T*>(args.residual) + to : nullptr;
    T* const dx = static_cast<T*>(args.dx) + to;
    const float mean = centred ? args.mean[row] : 0.0f, rstd = args.rstd[row];
    Vec g_total{}, gx_total{};
    each(width, [&](int64_t i, int64_t n) {
      const Vec normal = (load(x + i, n) - mean) * rstd, d = load(dy + i, n);  // past the tail d is 0
      const Vec g = d * scale_of(weight, args.offset, i, n);
      g_total += g;
      gx_total += g * normal;
      if (args.dweight) accumulate(args.dweight + i, d * normal, n);
      if (args.dbias) accumulate(args.dbias + i, d, n);
    });
    const float g_mean = centred ? sum(g_total) / width : 0.0f, gx_mean = sum(gx_total) / width;
    each(width, [&](int64_t i, int64_t n) {
      const Vec normal = (load(x + i, n) - mean) * rstd;
      const Vec g = load(dy + i, n) * scale_of(weight, args.offset, i, n);
      const Vec before = residual ? load(residual + i, n) : Vec{};
      store(dx + i, before + rstd * (g - g_mean - normal * gx_mean), n);
    });
  }
}

}  // namespace palm::cpu::PALM_ISA
