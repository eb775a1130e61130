// Device code shared by several kernels: elements are moved in packs of 16 bytes and computed in float; sums over a
// block.
#pragma once
#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

namespace palm::cuda {

using BFloat16 = __nv_bfloat16;

__device__ inline void convert(float from, float& to) { to = from; }
__device__ inline void convert(BFloat16 from, float& to) { to = __bfloat162float(from); }
__device__ inline void convert(float from, BFloat16& to) { to = __float2bfloat16(from); }

template <class T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack {
  T at[kCount];
};

template <int kCount>
struct Floats {
  float at[kCount];
  __device__ float& operator[](int i) { return at[i]; }
  __device__ float operator[](int i) const { return at[i]; }
};

template <int kCount, class T>
__device__ Floats<kCount> load(const T* from) {
  const auto pack = *reinterpret_cast<const Pack<T, kCount>*>(from);
  Floats<kCount> floats;
  for (int k = 0; k < kCount; ++k) convert(pack.at[k], floats[k]);
  return floats;
}

template <int kCount, class T>
__device__ void store(T* to, const Floats<kCount>& floats) {
  Pack<T, kCount> pack;
  for (int k = 0; k < kCount; ++k) convert(floats[k], pack.at[k]);
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

// body(i) for this thread's packs i … i + kCount − 1 of a row: the same ones at every call.
template <int kCount, class Body>
__device__ void each_pack(int64_t width, const Body& body) {
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * kCount; i < width; i += blockDim.x * kCount) body(i);
}

// Reduces values[0 … kCount − 1] with `join(values, of_another_thread)`; every thread of the warp gets the result.
template <int kCount, class Join>
__device__ void warp_reduce(float (&values)[kCount], const Join& join) {
  for (int distance = 16; distance > 0; distance /= 2) {
    float other[kCount];
    for (int k = 0; k < kCount; ++k) other[k] = __shfl_xor_sync(0xffffffff, values[k], distance);
    join(values, other);
  }
}

// The same for the whole block.
template <int kCount, class Join>
__device__ void block_reduce(float (&values)[kCount], const float (&neutral)[kCount], const Join& join) {
  __shared__ float of_warps[kCount][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  warp_reduce(values, join);
  if (warps == 1) return;
  for (int k = 0; k < kCount; ++k)
    if (lane == 0) of_warps[k][warp] = values[k];
  __syncthreads();
  for (int k = 0; k < kCount; ++k) values[k] = lane < warps ? of_warps[k][lane] : neutral[k];
  __syncthreads();  // of_warps may be overwritten now
  warp_reduce(values, join);
}

template <int kCount>
__device__ void block_sum(float (&values)[kCount]) {
  const float zeros[kCount] = {};
  block_reduce(values, zeros, [](float(&sum)[kCount], const float(&other)[kCount]) {
    for (int k = 0; k < kCount; ++k) sum[k] += other[k];
  });
}

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// --- host ------------------------------------------------------------------------------------------------------------

// Whether rows of `width` elements, `stride` apart, can be moved in packs of 16 bytes.
template <class T>
bool fits_packs(const void* data, int64_t stride, int64_t width) {
  constexpr int64_t kPack = 16 / sizeof(T);
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % kPack == 0 && width % kPack == 0;
}

// body(integral_constant): the elements per pack if packs fit, otherwise 1.
template <class T, class Body>
void by_pack(bool fits, const Body& body) {
  if (fits)
    body(std::integral_constant<int, 16 / sizeof(T)>());
  else
    body(std::integral_constant<int, 1>());
}

// Threads for a row: one pack per thread, up to `max_threads`.
inline int64_t threads_for(int64_t width, int64_t pack, int64_t max_threads = 256) {
  const int64_t wanted = (width + pack * 32 - 1) / (pack * 32) * 32;
  return wanted < 32 ? 32 : wanted < max_threads ? wanted : max_threads;
}

}  // namespace palm::cuda
