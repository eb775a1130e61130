#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

// ½ (1 + tanh u) = σ(2u), u = √(2/π) (x + 0.044715 x³).
constexpr float kTanhScale = 1.59576912f, kTanhCubic = 0.044715f;

// body(row, i) for every pack: a job is a part of a row that one block covers, one pack per thread.
template <int kPack, class Body>
__device__ void each_job(int64_t begin, int64_t end, int64_t width, const Body& body) {
  const int64_t piece = blockDim.x * kPack, pieces = (width + piece - 1) / piece;
  for (int64_t job = blockIdx.x; job < (end - begin) * pieces; job += gridDim.x) {
    const int64_t i = job % pieces * piece + threadIdx.x * kPack;
    if (i < width) body(begin + job / pieces, i);
  }
}

static Grid jobs(int64_t rows, int64_t width, int64_t pack) {
  const int64_t threads = threads_for(width, pack), piece = threads * pack;
  return {rows * ((width + piece - 1) / piece), threads};
}

// Every activation is x · share(x): the share of x that passes.
template <Activation kActivation>
__device__ float share(float x) {
  if constexpr (kActivation == Activation::silu) return sigmoid(x);
  if constexpr (kActivation == Activation::gelu) return 0.5f * erfcf(-0.70710678f * x);
  if constexpr (kActivation == Activation::gelu_tanh) return sigmoid(kTanhScale * x * (1.0f + kTanhCubic * x * x));
  return x > 0.0f ? 1.0f : 0.0f;
}

// d times the derivative.
template <Activation kActivation>
__device__ float backward(float d, float x, float s) {
  if constexpr (kActivation == Activation::silu) return d * s * (1.0f + x * (1.0f - s));
  if constexpr (kActivation == Activation::gelu) return d * (s + x * 0.39894228f * expf(-0.5f * x * x));
  if constexpr (kActivation == Activation::gelu_tanh)
    return d * s * (1.0f + kTanhScale * x * (1.0f - s) * (1.0f + 3.0f * kTanhCubic * x * x));
  return d * s;
}

template <class T, int kPack, Activation kActivation>
__global__ void activation_rows(ActivationArgs args, int64_t begin, int64_t end) {
  each_job<kPack>(begin, end, args.width, [&](int64_t row, int64_t i) {
    const T* const from = static_cast<const T*>(args.x) + row * args.x_stride + i;
    const auto up = load<kPack>(from), gate = args.gated ? load<kPack>(from + args.width) : up;
    Floats<kPack> out;
    for (int k = 0; k < kPack; ++k) out[k] = (args.gated ? up[k] * gate[k] : up[k]) * share<kActivation>(gate[k]);
    store(static_cast<T*>(args.y) + row * args.y_stride + i, out);
  });
}

template <class T, int kPack, Activation kActivation>
__global__ void activation_grad_rows(ActivationGradArgs args, int64_t begin, int64_t end) {
  each_job<kPack>(begin, end, args.width, [&](int64_t row, int64_t i) {
    const T* const from = static_cast<const T*>(args.x) + row * args.x_stride + i;
    T* const to = static_cast<T*>(args.dx) + row * args.dx_stride + i;
    const auto up = load<kPack>(from), gate = args.gated ? load<kPack>(from + args.width) : up;
    const auto d = load<kPack>(static_cast<const T*>(args.dy) + row * args.dy_stride + i);
    Floats<kPack> dup, dgate, y;
    for (int k = 0; k < kPack; ++k) {
      const float s = share<kActivation>(gate[k]);
      y[k] = (args.gated ? up[k] * gate[k] : up[k]) * s;
      dup[k] = d[k] * gate[k] * s;
      dgate[k] = backward<kActivation>(args.gated ? d[k] * up[k] : d[k], gate[k], s);
    }
    store(to, args.gated ? dup : dgate);
    if (args.gated) store(to + args.width, dgate);
    if (args.y) store(static_cast<T*>(args.y) + row * args.y_stride + i, y);
  });
}

// body(integral_constant) of the activation.
template <class Body>
static void by_activation(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::silu:
      return body(std::integral_constant<Activation, Activation::silu>());
    case Activation::gelu:
      return body(std::integral_constant<Activation, Activation::gelu>());
    case Activation::gelu_tanh:
      return body(std::integral_constant<Activation, Activation::gelu_tanh>());
    case Activation::relu:
      return body(std::integral_constant<Activation, Activation::relu>());
  }
}

template <class T>
void activation(const ActivationArgs& args, int64_t begin, int64_t end) {
  const bool fits =
      fits_packs<T>(args.x, args.x_stride, args.width) && fits_packs<T>(args.y, args.y_stride, args.width);
  by_pack<T>(fits, [&](auto pack) {
    by_activation(args.activation, [&](auto activation) {
      start(args.x, jobs(end - begin, args.width, pack), activation_rows<T, pack, activation>, args, begin, end);
    });
  });
}

template <class T>
void activation_grad(const ActivationGradArgs& args, int64_t begin, int64_t end) {
  const bool fits = fits_packs<T>(args.x, args.x_stride, args.width) &&
                    fits_packs<T>(args.dy, args.dy_stride, args.width) &&
                    fits_packs<T>(args.dx, args.dx_stride, args.width) &&
                    (!args.y || fits_packs<T>(args.y, args.y_stride, args.width));
  by_pack<T>(fits, [&](auto pack) {
    by_activation(args.activation, [&](auto activation) {
      start(args.x, jobs(end - begin, args.width, pack), activation_grad_rows<T, pack, activation>, args, begin, end);
    });
  });
}

PALM_CUDA_KERNEL(activation, ActivationArgs);
PALM_CUDA_KERNEL(activation_grad, ActivationGradArgs);

}  // namespace palm::cuda
