// Vectors of floats for the kernels in this folder. Each file here is compiled once per instruction set, with raw
// pointers and nothing from the standard library or libtorch: the linker could otherwise pick the AVX-512 copy of one
// of their inline functions for the whole program.
#pragma once
#include <cstdint>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace palm::cpu::PALM_ISA {

#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
#elif defined(__AVX2__)
constexpr int64_t kLanes = 8;
#else
constexpr int64_t kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedVec __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef uint32_t Bits __attribute__((vector_size(kLanes * 4)));
typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));
typedef uint16_t UnalignedHalves __attribute__((vector_size(kLanes * 2), aligned(2)));

// A bfloat16 is the upper half of a float.
struct BFloat16 {
  uint16_t bits;
};

static inline Vec all(float value) { return Vec{} + value; }
static inline int64_t rounded_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

static inline Vec load(const float* from) { return *reinterpret_cast<const UnalignedVec*>(from); }
static inline void store(float* to, Vec x) { *reinterpret_cast<UnalignedVec*>(to) = x; }

static inline Vec load(const BFloat16* from) {
  const Halves halves = *reinterpret_cast<const UnalignedHalves*>(from);
  return reinterpret_cast<Vec>(__builtin_convertvector(halves, Bits) << 16);
}

// Rounds to nearest, ties to even; NaN stays NaN.
static inline void store(BFloat16* to, Vec x) {
#ifdef __AVX512BF16__
  *reinterpret_cast<UnalignedHalves*>(to) = reinterpret_cast<Halves>(_mm512_cvtneps_pbh(x));
#else
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  *reinterpret_cast<UnalignedHalves*>(to) = __builtin_convertvector(x == x ? rounded : Bits{} + 0x7fc0, Halves);
#endif
}

// Only the first `count` lanes: the others are 0 when loaded and left unchanged when stored.
template <class T>
static inline Vec load(const T* from, int64_t count) {
  if (count == kLanes) return load(from);
  T lanes[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return load(lanes);
}

template <class T>
static inline void store(T* to, Vec x, int64_t count) {
  if (count == kLanes) return store(to, x);
  T lanes[kLanes];
  store(lanes, x);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}

// body(i, count) for i = 0, kLanes, …: count is kLanes except in the tail.
template <class Body>
static inline void each(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, kLanes);
  if (i < n) body(i, n - i);
}

static inline float widened(float x) { return x; }
static inline float widened(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float sum(Vec x) {
  float total = 0;
  for (int64_t i = 0; i < kLanes; ++i) total += x[i];
  return total;
}

static inline float maximum(Vec x) {
  float largest = x[0];
  for (int64_t i = 1; i < kLanes; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

static inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }

// e^x within 2 ulp; 0 below −87.3. Cephes' polynomial on [−½ ln 2, ½ ln 2], then the exponent is added as an integer.
static inline Vec exp(Vec x) {
  const Vec clamped = x > 88.3f ? all(88.3f) : x;
  const Vec shifted = clamped * 1.44269504088896341f + 12582912.0f;  // 1.5 · 2²³: the integer lands in the low bits
  const Vec n = shifted - 12582912.0f;
  const Vec r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
  Vec p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Vec scaled = reinterpret_cast<Vec>(reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(shifted) << 23));
  const Vec result = x < -87.3f ? Vec{} : scaled;
  return x == x ? result : x;
}

static inline Vec square_root(Vec x) {
  for (int64_t i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);  // compiles to one instruction
  return x;
}

// 1 / x within 1 ulp: a vector division takes longer than the rest of a sigmoid.
static inline Vec reciprocal(Vec x) {
#ifdef __AVX512F__
  const Vec estimate = _mm512_maskz_rcp14_ps(0xffff, x);  // the unmasked intrinsic makes GCC 12 warn
  return estimate * (2.0f - x * estimate);
#else
  return 1.0f / x;
#endif
}

static inline Vec sigmoid(Vec x) { return reciprocal(1.0f + exp(-x)); }

}  // namespace palm::cpu::PALM_ISA
