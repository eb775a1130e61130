// Every activation is x · share(x): the share of x that passes. `backward` is d times its derivative.
#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

struct Silu {
  static Vec share(Vec x) { return sigmoid(x); }
  static Vec backward(Vec d, Vec x, Vec share) { return d * share * (1.0f + x * (1.0f - share)); }
};

struct Gelu {
  // Φ(x) = ½ erfc(−x / √2), within 1.2e-7 of its value (Press et al., Numerical Recipes, erfcc).
  static Vec share(Vec x) {
    constexpr float kCoefficients[] = {0.17087277f,  -0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f,
                                       -0.18628806f, 0.09678418f,  0.37409196f, 1.00002368f,  -1.26551223f};
    const Vec z = (x < 0.0f ? -x : x) * 0.70710678f, t = 1.0f / (1.0f + 0.5f * z);
    Vec p{};
    for (const float c : kCoefficients) p = p * t + c;
    const Vec beyond = 0.5f * t * exp(p - z * z);
    return x < 0.0f ? beyond : 1.0f - beyond;
  }
  static Vec backward(Vec d, Vec x, Vec share) { return d * (share + x * 0.39894228f * exp(-0.5f * x * x)); }
};

// ½ (1 + tanh(u)) = σ(2u).
struct GeluTanh {
  static constexpr float kScale = 1.59576912f, kCubic = 0.044715f;  // 2 √(2/π)
  static Vec share(Vec x) { return sigmoid(kScale * x * (1.0f + kCubic * x * x)); }
  static Vec backward(Vec d, Vec x, Vec share) {
    return d * share * (1.0f + kScale * x * (1.0f - share) * (1.0f + 3.0f * kCubic * x * x));
  }
};

struct Relu {
  static Vec share(Vec x) { return x > 0.0f ? all(1.0f) : Vec{}; }
  static Vec backward(Vec d, Vec, Vec share) { return d * share; }
};

// body(Silu()), and so on.
template <class Body>
static inline void by_activation(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::silu:
      return body(Silu());
    case Activation::gelu:
      return body(Gelu());
    case Activation::gelu_tanh:
      return body(GeluTanh());
    case Activation::relu:
      return body(Relu());
  }
}

template <class F, class T>
static void activation_row(const ActivationArgs& args, const T* up, T* y) {
  const int64_t width = args.width;
  if (!args.gated)
    return each(width, [&](int64_t i, int64_t n) {
      const Vec u = load(up + i, n);
      store(y + i, u * F::share(u), n);
    });
  each(width, [&](int64_t i, int64_t n) {
    const Vec g = load(up + width + i, n);
    store(y + i, load(up + i, n) * g * F::share(g), n);
  });
}

template <class T>
void activation(const ActivationArgs& args, int64_t begin, int64_t end) {
  by_activation(args.activation, [&](auto f) {
    for (int64_t row = begin; row < end; ++row)
      activation_row<decltype(f)>(args, static_cast<const T*>(args.x) + row * args.x_stride,
                                  static_cast<T*>(args.y) + row * args.y_stride);
  });
}

template <class F, class T>
static void activation_grad_row(const ActivationGradArgs& args, const T* up, const T* dy, T* dup, T* y) {
  const int64_t width = args.width;
  if (!args.gated)
    return each(width, [&](int64_t i, int64_t n) {
      const Vec u = load(up + i, n), d = load(dy + i, n), s = F::share(u);
      store(dup + i, F::backward(d, u, s), n);
      if (y) store(y + i, u * s, n);
    });
  each(width, [&](int64_t i, int64_t n) {
    const Vec u = load(up + i, n), g = load(up + width + i, n), d = load(dy + i, n), s = F::share(g);
    store(dup + i, d * g * s, n);
    store(dup + width + i, F::backward(d * u, g, s), n);
    if (y) store(y + i, u * g * s, n);
  });
}

template <class T>
void activation_grad(const ActivationGradArgs& args, int64_t begin, int64_t end) {
  by_activation(args.activation, [&](auto f) {
    for (int64_t row = begin; row < end; ++row)
      activation_grad_row<decltype(f)>(args, static_cast<const T*>(args.x) + row * args.x_stride,
                                       static_cast<const T*>(args.dy) + row * args.dy_stride,
                                       static_cast<T*>(args.dx) + row * args.dx_stride,
                                       args.y ? static_cast<T*>(args.y) + row * args.y_stride : nullptr);
  });
}

}  // namespace palm::cpu::PALM_ISA
