#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

template <class T>
void layer_norm(const LayerNormArgs& args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const T* gamma = static_cast<const T*>(args.gamma);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(args.x) + row * width;
    T* y = static_cast<T*>(args.y) + row * width;
    Vec total{};
    each(width, [&](int64_t i, int64_t n) { total += load(x + i, n); });
    const float mean = sum(total) / width;
    // Squared deviations from the mean, not E[x²] − mean², which suffers from cancellation.
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
    const float rstd = 1.0f / __builtin_sqrtf(square / width + 1e-5f);
    each(width,
         [&](int64_t i, int64_t n) { store(y + i, (load(x + i, n) - mean) * rstd * (load(gamma + i, n) + 1.0f), n); });
    args.mean[row] = mean;
    args.rstd[row] = rstd;
  }
}

// With x̂ = (x − mean) rstd and g = dy (1 + gamma):  dx = rstd (g − mean(g) − x̂ mean(g x̂)),  dgamma = Σ dy x̂.
template <class T>
void layer_norm_grad(const LayerNormGradArgs& args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const T* gamma = static_cast<const T*>(args.gamma);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(args.x) + row * width;
    const T* dy = static_cast<const T*>(args.dy) + row * width;
    const T* residual = args.residual ? static_cast<const T*>(args.residual) + row * width : nullptr;
    T* dx = static_cast<T*>(args.dx) + row * width;
    const float mean = args.mean[row], rstd = args.rstd[row];
    Vec g_total{}, gx_total{};
    each(width, [&](int64_t i, int64_t n) {
      const Vec normal = (load(x + i, n) - mean) * rstd, d = load(dy + i, n);  // past the tail d is 0
      const Vec g = d * (load(gamma + i, n) + 1.0f);
      g_total += g;
      gx_total += g * normal;
      store(args.dgamma + i, load(args.dgamma + i, n) + d * normal, n);
    });
    const float g_mean = sum(g_total) / width, gx_mean = sum(gx_total) / width;
    each(width, [&](int64_t i, int64_t n) {
      const Vec normal = (load(x + i, n) - mean) * rstd;
      const Vec g = load(dy + i, n) * (load(gamma + i, n) + 1.0f);
      const Vec before = residual ? load(residual + i, n) : Vec{};
      store(dx + i, before + rstd * (g - g_mean - normal * gx_mean), n);
    });
  }
}

}  // namespace palm::cpu::PALM_ISA
