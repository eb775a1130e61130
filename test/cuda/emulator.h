// CUDA on a CPU, as far as our kernels need it: blocks run one after the other, in random order; the threads of a block
// are fibers that take turns in random order, which sanitizers can watch. Launch limits are checked as the driver does
// (not registers), and shared memory holds NaN until it is written.
//
// Included before everything else (-include), since it says what `__shared__` and threadIdx are.
#pragma once
#include <vector_types.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __shared__ static
#define __global__
#define __device__
#define __launch_bounds__(...)

namespace emu {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};
struct Launch {
  int64_t blocks, threads, shared_bytes;
};

extern uint64_t seed;                // of the schedule
extern int64_t static_bytes;         // of shared memory that the next kernel declares itself
extern std::vector<float4> dynamic;  // shared memory of the block

// Throws where the driver refuses the launch, and where threads of a block wait at different barriers.
void run(const Launch& launch, const std::function<void()>& kernel);

void block_barrier();
void warp_barrier();
uint32_t exchange(uint32_t value, unsigned lane);  // what the thread of that lane of the warp gives

}  // namespace emu

extern emu::Index threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads() { emu::block_barrier(); }
inline void __syncwarp(unsigned = 0xffffffff) { emu::warp_barrier(); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline float __shfl_xor_sync(unsigned, float value, int mask) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t other = emu::exchange(bits, (threadIdx.x % 32) ^ static_cast<unsigned>(mask));
  std::memcpy(&value, &other, sizeof bits);
  return value;
}
inline int atomicAdd(int* at, int value) { return std::atomic_ref<int>(*at).fetch_add(value); }
using std::max;
using std::min;
