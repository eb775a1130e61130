#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

__device__ inline int64_t start_of(const RowsWithin& rows, int64_t row, int64_t width) {
  return rows.group == 1 ? row * rows.stride : row / rows.group * rows.stride + row % rows.group * width;
}

// The scale weight + offset, or 1.
template <int kPack, class T>
__device__ Floats<kPack> scale_of(const void* weight, float offset, int64_t i, const T*) {
  Floats<kPack> scale;
  if (weight) scale = load<kPack>(static_cast<const T*>(weight) + i);
  for (int k = 0; k < kPack; ++k) scale[k] = weight ? scale[k] + offset : 1.0f;
  return scale;
}

template <int kCount>
__device__ void accumulate(float* to, const Floats<kCount>& more) {
  auto sum = load<kCount>(to);
  for (int k = 0; k < kCount; ++k) sum[k] += more[k];
  store(to, sum);
}

// One block per row. rms is layer around 0 instead of the mean.
template <class T, int kPack>
__global__ void norm_rows(NormArgs args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const T* const bias = static_cast<const T*>(args.bias);
  for (int64_t row = begin + blockIdx.x; row < end; row += gridDim.x) {
    const T* const x = static_cast<const T*>(args.x) + start_of(args.x_rows, row, width);
    T* const y = static_cast<T*>(args.y) + start_of(args.y_rows, row, width);
    float total[1] = {};
    if (args.kind == NormKind::layer) {
      each_pack<kPack>(width, [&](int64_t i) {
        const auto value = load<kPack>(x + i);
        for (int k = 0; k < kPack; ++k) total[0] += value[k];
      });
      block_sum(total);
    }
    const float mean = total[0] / width;
    // Squared deviations from the mean, not E[x²] − mean², which suffers from cancellation.
    float squares[1] = {};
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i);
      for (int k = 0; k < kPack; ++k) squares[0] += (value[k] - mean) * (value[k] - mean);
    });
    block_sum(squares);
    const float rstd = 1.0f / sqrtf(squares[0] / width + args.eps);
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i), scale = scale_of<kPack>(args.weight, args.offset, i, x);
      Floats<kPack> out = bias ? load<kPack>(bias + i) : Floats<kPack>{};
      for (int k = 0; k < kPack; ++k) out[k] += (value[k] - mean) * rstd * scale[k];
      store(y + i, out);
    });
    if (threadIdx.x == 0) {
      if (args.mean) args.mean[row] = mean;
      args.rstd[row] = rstd;
    }
  }
}

// With x̂ = (x − mean) rstd and g = dy (weight + offset):  dx = rstd (g − mean(g) − x̂ mean(g x̂)), where rms has no
// mean(g);  dweight = Σ dy x̂,  dbias = Σ dy.

constexpr int kWarps = 8;  // per block, each with its own row

// Where a block keeps its sums: of dweight and, with kSums = 2, of dbias; null if there are none.
struct NormSums {
  float* of[2];

  __device__ NormSums(const NormGradArgs& args)
      : of{args.dweight ? args.dweight + blockIdx.x * args.width : nullptr,
           args.dbias ? args.dbias + blockIdx.x * args.width : nullptr} {}
};

// One warp per row, which is read once: each lane keeps its elements, and the sums of its columns, in registers,
// `kPacks` packs of each. The warps of a block add their sums one after the other, so that the order of summation is
// fixed.
template <class T, int kPack, int kPacks, int kSums>
__global__ void __launch_bounds__(kWarps * 32) norm_grad_warps(NormGradArgs args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const bool centred = args.kind == NormKind::layer;
  const auto each_own = [&](const auto& body) {
    for (int p = 0; p < kPacks; ++p) {
      const int64_t i = (static_cast<int64_t>(p) * 32 + lane) * kPack;
      if (i < width) body(p, i);
    }
  };
  Floats<kPack> lane_sums[kSums][kPacks] = {};
  for (int64_t row = begin + static_cast<int64_t>(blockIdx.x) * kWarps + warp; row < end; row += gridDim.x * kWarps) {
    const int64_t to = start_of(args.dx_rows, row, width);
    const T* const x = static_cast<const T*>(args.x) + start_of(args.x_rows, row, width);
    const T* const dy = static_cast<const T*>(args.dy) + start_of(args.dy_rows, row, width);
    const T* const residual = args.residual ? static_cast<const T*>(args.residual) + to : nullptr;
    T* const dx = static_cast<T*>(args.dx) + to;
    const float mean = centred ? args.mean[row] : 0.0f, rstd = args.rstd[row];
    Floats<kPack> normal[kPacks], g[kPacks];
    float totals[2] = {};
    each_own([&](int p, int64_t i) { normal[p] = load<kPack>(x + i), g[p] = load<kPack>(dy + i); });
    each_own([&](int p, int64_t i) {
      const auto scale = scale_of<kPack>(args.weight, args.offset, i, x);
      for (int k = 0; k < kPack; ++k) {
        normal[p][k] = (normal[p][k] - mean) * rstd;
        lane_sums[0][p][k] += g[p][k] * normal[p][k];
        if (kSums == 2) lane_sums[kSums - 1][p][k] += g[p][k];
        g[p][k] *= scale[k];
        totals[0] += g[p][k];
        totals[1] += g[p][k] * normal[p][k];
      }
    });
    warp_reduce(totals, [](float(&sum)[2], const float(&other)[2]) { sum[0] += other[0], sum[1] += other[1]; });
    const float g_mean = centred ? totals[0] / width : 0.0f, gx_mean = totals[1] / width;
    each_own([&](int p, int64_t i) {
      Floats<kPack> out = residual ? load<kPack>(residual + i) : Floats<kPack>{};
      for (int k = 0; k < kPack; ++k) out[k] += rstd * (g[p][k] - g_mean - normal[p][k] * gx_mean);
      store(dx + i, out);
    });
  }
  float* const shared = dynamic_shared();
  const NormSums sums(args);
  for (int s = 0; s < kSums; ++s) {
    float* const own = sums.of[s];
    for (int turn = 0; own && turn < kWarps; ++turn) {
      if (warp == turn)
        each_own([&](int p, int64_t i) {
          auto sum = load<kPack>(turn == 0 ? own + i : shared + i);
          for (int k = 0; k < kPack; ++k) sum[k] += lane_sums[s][p][k];
          store(turn == kWarps - 1 ? own + i : shared + i, sum);
        });
      __syncthreads();
    }
  }
}

// One block per row, for rows too wide for a warp's registers. A block processes every gridDim-th row and keeps its own
// sums, in which each thread owns some columns.
template <class T, int kPack, bool kShared>
__global__ void norm_grad_rows(NormGradArgs args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  const bool centred = args.kind == NormKind::layer;
  const NormSums global(args);
  NormSums sums = global;
  for (int s = 0; kShared && s < 2; ++s) {
    if (!global.of[s]) continue;
    sums.of[s] = dynamic_shared() + s * width;
    each_pack<kPack>(width, [&](int64_t i) { store(sums.of[s] + i, load<kPack>(global.of[s] + i)); });
  }
  for (int64_t row = begin + blockIdx.x; row < end; row += gridDim.x) {
    const int64_t to = start_of(args.dx_rows, row, width);
    const T* const x = static_cast<const T*>(args.x) + start_of(args.x_rows, row, width);
    const T* const dy = static_cast<const T*>(args.dy) + start_of(args.dy_rows, row, width);
    const T* const residual = args.residual ? static_cast<const T*>(args.residual) + to : nullptr;
    T* const dx = static_cast<T*>(args.dx) + to;
    const float mean = centred ? args.mean[row] : 0.0f, rstd = args.rstd[row];
    float totals[2] = {};
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i), d = load<kPack>(dy + i);
      const auto scale = scale_of<kPack>(args.weight, args.offset, i, x);
      Floats<kPack> dweight;
      for (int k = 0; k < kPack; ++k) {
        const float normal = (value[k] - mean) * rstd, g = d[k] * scale[k];
        totals[0] += g;
        totals[1] += g * normal;
        dweight[k] = d[k] * normal;
      }
      if (sums.of[0]) accumulate(sums.of[0] + i, dweight);
      if (sums.of[1]) accumulate(sums.of[1] + i, d);
    });
    block_sum(totals);
    const float g_mean = centred ? totals[0] / width : 0.0f, gx_mean = totals[1] / width;
    each_pack<kPack>(width, [&](int64_t i) {
      const auto value = load<kPack>(x + i), d = load<kPack>(dy + i);
      const auto scale = scale_of<kPack>(args.weight, args.offset, i, x);
      Floats<kPack> out = residual ? load<kPack>(residual + i) : Floats<kPack>{};
      for (int k = 0; k < kPack; ++k) {
        const float normal = (value[k] - mean) * rstd, g = d[k] * scale[k];
        out[k] += rstd * (g - g_mean - normal * gx_mean);
      }
      store(dx + i, out);
    });
  }
  for (int s = 0; kShared && s < 2; ++s)
    if (global.of[s]) each_pack<kPack>(width, [&](int64_t i) { store(global.of[s] + i, load<kPack>(sums.of[s] + i)); });
}

// Whether rows inside the rows of a matrix can be moved in packs.
template <class T>
static bool fits_rows(const void* data, const RowsWithin& rows, int64_t width) {
  return fits_packs<T>(data, rows.stride, width);
}

template <class T>
void norm(const NormArgs& args, int64_t begin, int64_t end) {
  const bool fits = fits_rows<T>(args.x, args.x_rows, args.width) && fits_rows<T>(args.y, args.y_rows, args.width) &&
                    fits_packs<T>(args.weight, 0, 0) && fits_packs<T>(args.bias, 0, 0);
  by_pack<T>(fits, [&](auto pack) {
    start(args.x, {end - begin, threads_for(args.width, pack)}, norm_rows<T, pack>, args, begin, end);
  });
}

template <class T, int kPack, int kPacks>
static void start_warps(const NormGradArgs& args, int64_t begin, int64_t end) {
  const int64_t blocks = std::min((end - begin + kWarps - 1) / kWarps, kPartialSums);
  start(args.x, {blocks, kWarps * 32, args.width * static_cast<int64_t>(sizeof(float))},
        args.dbias ? norm_grad_warps<T, kPack, kPacks, 2> : norm_grad_warps<T, kPack, kPacks, 1>, args, begin, end);
}

template <class T, int kPack>
static void start_blocks(const NormGradArgs& args, int64_t begin, int64_t end) {
  const int64_t shared = (args.dbias ? 2 : 1) * args.width * static_cast<int64_t>(sizeof(float));
  const bool in_shared = shared <= 32 * 1024;  // larger sums stay in global memory
  start(args.x, {std::min(end - begin, kPartialSums), threads_for(args.width, kPack), in_shared ? shared : 0},
        in_shared ? norm_grad_rows<T, kPack, true> : norm_grad_rows<T, kPack, false>, args, begin, end);
}

template <class T>
void norm_grad(const NormGradArgs& args, int64_t begin, int64_t end) {
  const bool fits = fits_rows<T>(args.x, args.x_rows, args.width) && fits_rows<T>(args.dy, args.dy_rows, args.width) &&
                    fits_rows<T>(args.dx, args.dx_rows, args.width) && fits_packs<T>(args.weight, 0, 0) &&
                    fits_packs<T>(args.residual, 0, 0) && fits_packs<float>(args.dweight, 0, 0) &&
                    fits_packs<float>(args.dbias, 0, 0);
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

PALM_CUDA_KERNEL(norm, NormArgs);
PALM_CUDA_KERNEL(norm_grad, NormGradArgs);

}  // namespace palm::cuda
