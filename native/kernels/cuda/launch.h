// Launches the kernels of this folder on libtorch's current stream of the device that holds their data.
#pragma once
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>

namespace palm::cuda {

// Looked up only if there is a choice: most machines have one GPU, which is the current device.
inline std::optional<c10::DeviceIndex> device_of(const void* data) {
  if (c10::cuda::device_count() < 2) return std::nullopt;
  cudaPointerAttributes attributes{};
  C10_CUDA_CHECK(cudaPointerGetAttributes(&attributes, data));
  return static_cast<c10::DeviceIndex>(attributes.device);
}

struct Grid {
  int64_t blocks;            // one per job: kernels loop over jobs beyond the max grid size
  int64_t threads;           // per block, a multiple of 32
  int64_t shared_bytes = 0;  // size of dynamic_shared()
};

template <class... Args>
void start(const void* data, const Grid& grid, void (*kernel)(Args...), const std::type_identity_t<Args>&... args) {
  if (grid.blocks == 0) return;
  const c10::cuda::OptionalCUDAGuard guard(device_of(data));
  const auto blocks = static_cast<uint32_t>(std::min<int64_t>(grid.blocks, std::numeric_limits<int32_t>::max()));
  kernel<<<blocks, grid.threads, grid.shared_bytes, c10::cuda::getCurrentCUDAStream()>>>(args...);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

__device__ inline float* dynamic_shared() {
  extern __shared__ float4 memory[];
  return reinterpret_cast<float*>(memory);
}

}  // namespace palm::cuda
