// What the tests of the CUDA kernels share: arrays of the exact length, random numbers, and how far two answers lie
// apart.
#pragma once
#include <cuda_bf16.h>

#include "emulator.h"
#include "kernels/cuda/table.h"

using palm::cuda::BFloat16;

inline std::mt19937_64 rng(7);
inline int failures = 0;

inline double normal() { return std::normal_distribution<double>()(rng); }
inline float up(float x) { return x; }
inline float up(BFloat16 x) { return __bfloat162float(x); }
template <class T>
T down(double x) {
  if constexpr (sizeof(T) == 4)
    return static_cast<float>(x);
  else
    return __float2bfloat16(static_cast<float>(x));
}
template <class T>
constexpr bool kWide = sizeof(T) == 4;
template <class T>
const char* name() {
  return kWide<T> ? "float32" : "bfloat16";
}

// Exactly as long as it has to be, so that a sanitizer sees what reads behind it; `off` elements away from 16 bytes.
template <class T>
class Array {
 public:
  explicit Array(size_t count, size_t off = 0)
      : n(count), memory_(new char[(count + off) * sizeof(T)]), data(reinterpret_cast<T*>(memory_.get()) + off) {}
  T& operator[](size_t i) { return data[i]; }
  void draw(double scale = 1, double shift = 0) {
    for (size_t i = 0; i < n; ++i) data[i] = down<T>(normal() * scale + shift);
  }
  void poison() { std::memset(static_cast<void*>(data), 0xff, n * sizeof(T)); }
  Array copy() const {
    Array all(n);
    std::memcpy(static_cast<void*>(all.data), data, n * sizeof(T));
    return all;
  }

  size_t n;

 private:
  std::unique_ptr<char[]> memory_;

 public:
  T* data;
};

// ‖a − b‖ / ‖b‖ of what was added.
class Gap {
 public:
  void add(double a, double b) {
    diff_ += std::isnan(b) ? NAN : (a - b) * (a - b);
    size_ += b * b;
  }
  double relative() const { return std::sqrt(diff_ / (size_ > 1e-12 ? size_ : 1)); }

 private:
  double diff_ = 0, size_ = 0;
};

inline void expect(bool right, const std::string& of, const char* what) {
  if (right) return;
  ++failures;
  std::printf("FAILED %s: %s\n", of.c_str(), what);
}
// Not `gap >= most`: NaN is no small gap.
inline void expect(const Gap& gap, double most, const std::string& of, const char* what) {
  if (gap.relative() < most) return;
  ++failures;
  std::printf("FAILED %s: %s is off by %.1e, at most %.1e expected\n", of.c_str(), what, gap.relative(), most);
}

template <class... Words>
std::string text(const Words&... words) {
  std::ostringstream all;
  ((all << words << ' '), ...);
  return all.str();
}

// Of every kernel: all its sizes in float32 and bfloat16.
void norm_tests();
void rotary_tests();
void activation_tests();
void log_prob_tests();
void adam_w_tests();
void decode_attention_tests();
void sample_tests();
