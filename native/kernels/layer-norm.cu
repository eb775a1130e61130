#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

// A block a row.
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
    // Squared deviations from the mean, not E[x²] − mean²: that would cancel.
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

// With x̂ = (x − mean) rstd and g = dy (1 + gamma):  dx = rstd (g − mean(g) − x̂ mean(g x̂)),  dgamma = Σ dy x̂. A block
// takes every gridDim-th row and keeps its own sum of dgamma, of which a thread has its own columns.
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

template <class T>
void layer_norm_grad(const LayerNormGradArgs& args, int64_t begin, int64_t end) {
  const bool fits = fits_packs<T>(args.x, args.width, args.width) && fits_packs<T>(args.gamma, 0, 0) &&
                    fits_packs<T>(args.dy, 0, 0) && fits_packs<T>(args.residual, 0, 0) &&
                    fits_packs<T>(args.dx, 0, 0) && fits_packs<float>(args.dgamma, 0, 0);
  const int64_t shared = args.width * static_cast<int64_t>(sizeof(float));
  const bool in_shared = shared <= 32 * 1024;  // wider sums stay in global memory
  by_pack<T>(fits, [&](auto pack) {
    start(args.x, {std::min(end - begin, kPartialSums), threads_for(args.width, pack), in_shared ? shared : 0},
          in_shared ? layer_norm_grad_rows<T, pack, true> : layer_norm_grad_rows<T, pack, false>, args, begin, end);
  });
}

PALM_CUDA_KERNEL(layer_norm, LayerNormArgs);
PALM_CUDA_KERNEL(layer_norm_grad, LayerNormGradArgs);

}  // namespace palm::cuda
