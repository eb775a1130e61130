// Takes the place of native/kernels/cuda/launch.h: kernels are called, not launched.
#pragma once
#include "emulator.h"

namespace palm::cuda {

struct Grid {
  int64_t blocks, threads, shared_bytes = 0;
};

template <class... Args>
void start(const void*, const Grid& grid, void (*kernel)(Args...), const std::type_identity_t<Args>&... args) {
  if (grid.blocks == 0) return;
  emu::run({grid.blocks, grid.threads, grid.shared_bytes}, [&] { kernel(args...); });
}

inline float* dynamic_shared() { return reinterpret_cast<float*>(emu::dynamic.data()); }

}  // namespace palm::cuda
