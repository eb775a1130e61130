#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

// One block per row.
template <class T, int kPack>
__global__ void layer_norm_rows(LayerNormArgs args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const T* const gamma = static_cast<const T*>(args.gamma);
  for (int64_t row = begin + blockIdx.x; row < end; row += gridDim.x) {
    const T* const x = static_cast<const T*>(args.x) + row * width;
    T* const y = static_cast<T*>(args.y) + row * width;
    float total[1] = {};
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i);
      for (int k = 0; k < kPack; ++k) total[0] += value[k];
    });
    block_sum(total);
    const float mean = total[0] / width;
    // Squared deviations from the mean, not E[x²] − mean², which suffers from cancellation.
    float squares[1] = {};
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i);
      for (int k = 0; k < kPack; ++k) squares[0] += (value[k] - mean) * (value[k] - mean);
    });
    block_sum(squares);
    const float rstd = 1.0f / sqrtf(squares[0] / width + 1e-5f);
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i), scale = load<kPack>(gamma + i);
      Floats<kPack> out;
      for (int k = 0; k < kPack; ++k) out[k] = (value[k] - mean) * rstd * (scale[k] + 1.0f);
      store(y + i, out);
    });
    if (threadIdx.x == 0) {
      args.mean[row] = mean;
      args.rstd[row] = rstd;
    }
  }
}

// With x̂ = (x − mean) rstd and g = dy (1 + gamma):  dx = rstd (g − mean(g) − x̂ mean(g x̂)),  dgamma = Σ dy x̂.

constexpr int kWarps = 8;  // per block, each with its own row

// One warp per row, which is read once: each lane keeps its elements, and the dgamma of its columns, in registers,
// `kPacks` packs of each. The warps of a block add their sums one after the other, so that the order of summation is
// fixed.
template <class T, int kPack, int kPacks>
__global__ void __launch_bounds__(kWarps * 32)
    layer_norm_grad_warps(LayerNormGradArgs args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const T* const gamma = static_cast<const T*>(args.gamma);
  const auto each_own = [&](const auto& body) {
    for (int p = 0; p < kPacks; ++p) {
      const int64_t i = (static_cast<int64_t>(p) * 32 + lane) * kPack;
      if (i < width) body(p, i);
    }
  };
  Floats<kPack> dgamma[kPacks] = {};
  for (int64_t row = begin + static_cast<int64_t>(blockIdx.x) * kWarps + warp; row < end; row += gridDim.x * kWarps) {
    const T* const x = static_cast<const T*>(args.x) + row * width;
    const T* const dy = static_cast<const T*>(args.dy) + row * width;
    const T* const residual = args.residual ? static_cast<const T*>(args.residual) + row * width : nullptr;
    T* const dx = static_cast<T*>(args.dx) + row * width;
    const float mean = args.mean[row], rstd = args.rstd[row];
    Floats<kPack> normal[kPacks], g[kPacks];
    float totals[2] = {};
    each_own([&](int p, int64_t i) { normal[p] = load<kPack>(x + i), g[p] = load<kPack>(dy + i); });
    each_own([&](int p, int64_t i) {
      const auto scale = load<kPack>(gamma + i);
      for (int k = 0; k < kPack; ++k) {
        normal[p][k] = (normal[p][k] - mean) * rstd;
        dgamma[p][k] += g[p][k] * normal[p][k];
        g[p][k] *= scale[k] + 1.0f;
        totals[0] += g[p][k];
        totals[1] += g[p][k] * normal[p][k];
      }
    });
    warp_reduce(totals, [](float(&sum)[2], const float(&other)[2]) { sum[0] += other[0], sum[1] += other[1]; });
    const float g_mean = totals[0] / width, gx_mean = totals[1] / width;
    each_own([&](int p, int64_t i) {
      Floats<kPack> out = residual ? load<kPack>(residual + i) : Floats<kPack>{};
      for (int k = 0; k < kPack; ++k) out[k] += rstd * (g[p][k] - g_mean - normal[p][k] * gx_mean);
      store(dx + i, out);
    });
  }
  float* const sums = dynamic_shared();
  float* const own = args.dgamma + blockIdx.x * width;
  for (int turn = 0; turn < kWarps; ++turn) {
    if (warp == turn)
      each_own([&](int p, int64_t i) {
        auto sum = load<kPack>(turn == 0 ? own + i : sums + i);
        for (int k = 0; k < kPack; ++k) sum[k] += dgamma[p][k];
        store(turn == kWarps - 1 ? own + i : sums + i, sum);
      });
    __syncthreads();
  }
}

// One block per row, for rows too wide for a warp's registers. A block processes every gridDim-th row and keeps its own
// sum of dgamma, in which each thread owns some columns.
template <class T, int kPack, bool kShared>
__global__ void layer_norm_grad_rows(LayerNormGradArgs args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const T* const gamma = static_cast<const T*>(args.gamma);
  float* const own = args.dgamma + blockIdx.x * width;
  float* const dgamma = kShared ? dynamic_shared() : own;
  if (kShared) each_pack<kPack>(width, [&](int64_t i) { store(dgamma + i, load<kPack>(own + i)); });
  for (int64_t row = begin + blockIdx.x; row < end; row += gridDim.x) {
    const T* const x = static_cast<const T*>(args.x) + row * width;
    const T* const dy = static_cast<const T*>(args.dy) + row * width;
    const T* const residual = args.residual ? static_cast<const T*>(args.residual) + row * width : nullptr;
    T* const dx = static_cast<T*>(args.dx) + row * width;
    const float mean = args.mean[row], rstd = args.rstd[row];
    float totals[2] = {};
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i), d = load<kPack>(dy + i), scale = load<kPack>(gamma + i);
      auto sum = load<kPack>(dgamma + i);
      for (int k = 0; k < kPack; ++k) {
        const float normal = (value[k] - mean) * rstd, g = d[k] * (scale[k] + 1.0f);
        totals[0] += g;
        totals[1] += g * normal;
        sum[k] += d[k] * normal;
      }
      store(dgamma + i, sum);
    });
    block_sum(totals);
    const float g_mean = totals[0] / width, gx_mean = totals[1] / width;
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i), d = load<kPack>(dy + i), scale = load<kPack>(gamma + i);
      Floats<kPack> out = residual ? load<kPack>(residual + i) : Floats<kPack>{};
      for (int k = 0; k < kPack; ++k) {
        const float normal = (value[k] - mean) * rstd, g = d[k] * (scale[k] + 1.0f);
        out[k] += rstd * (g - g_mean - normal * gx_mean);
      }
      store(dx + i, out);
    });
  }
  if (kShared) each_pack<kPack>(width, [&](int64_t i) { store(own + i, load<kPack>(dgamma + i)); });
}

template <class T>
void layer_norm(const LayerNormArgs& args, int64_t begin, int64_t end) {
  const bool fits =
      fits_packs<T>(args.x, args.width, args.width) && fits_packs<T>(args.gamma, 0, 0) && fits_packs<T>(args.y, 0, 0);
  by_pack<T>(fits, [&](auto pack) {
    start(args.x, {end - begin, threads_for(args.width, pack)}, layer_norm_rows<T, pack>, args, begin, end);
  });
}

template <class T, int kPack, int kPacks>
static void start_warps(const LayerNormGradArgs& args, int64_t begin, int64_t end) {
  const int64_t blocks = std::min((end - begin + kWarps - 1) / kWarps, kPartialSums);
  start(args.x, {blocks, kWarps * 32, args.width * static_cast<int64_t>(sizeof(float))},
        layer_norm_grad_warps<T, kPack, kPacks>, args, begin, end);
}

template <class T, int kPack>
static void start_blocks(const LayerNormGradArgs& args, int64_t begin, int64_t end) {
  const int64_t shared = args.width * static_cast<int64_t>(sizeof(float));
  const bool in_shared = shared <= 32 * 1024;  // larger sums stay in global memory
  start(args.x, {std::min(end - begin, kPartialSums), threads_for(args.width, kPack), in_shared ? shared : 0},
        in_shared ? layer_norm_grad_rows<T, kPack, true> : layer_norm_grad_rows<T, kPack, false>, args, begin, end);
}

template <class T>
void layer_norm_grad(const LayerNormGradArgs& args, int64_t begin, int64_t end) {
  const bool fits = fits_packs<T>(args.x, args.width, args.width) && fits_packs<T>(args.gamma, 0, 0) &&
                    fits_packs<T>(args.dy, 0, 0) && fits_packs<T>(args.residual, 0, 0) &&
                    fits_packs<T>(args.dx, 0, 0) && fits_packs<float>(args.dgamma, 0, 0);
  constexpr int kPack = 16 / sizeof(T);
  if (!fits)
    start_blocks<T, 1>(args, begin, end);
  else if (args.width <= 32 * 8)
    start_warps<T, kPack, 8 / kPack>(args, begin, end);
  else if (args.width <= 32 * 16)
    start_warps<T, kPack, 16 / kPack>(args, begin, end);
  else if (args.width <= 32 * 32)
    start_warps<T, kPack, 32 / kPack>(args, begin, end);
  else
    start_blocks<T, kPack>(args, begin, end);
}

PALM_CUDA_KERNEL(layer_norm, LayerNormArgs);
PALM_CUDA_KERNEL(layer_norm_grad, LayerNormGradArgs);

}  // namespace palm::cuda
