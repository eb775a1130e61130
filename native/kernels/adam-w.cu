// The AdamW update of optim/adam-w.h.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

template <class T, int kPack>
__global__ void adam_w_pieces(AdamWArgs args, int64_t begin, int64_t end) {
  if (*args.broken != 0.0f) return;
  T* const parameter = static_cast<T*>(args.parameter);
  const float scale = 1.0f / *args.divisor;
  const float first = 1.0f - powf(args.beta1, *args.step), second = 1.0f - powf(args.beta2, *args.step);
  const float size = args.lr / first, root = 1.0f / sqrtf(second), decay = 1.0f - args.lr * args.weight_decay;
  const int64_t all = static_cast<int64_t>(gridDim.x) * blockDim.x * kPack;
  int64_t i = begin + (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kPack;
  for (; i < end; i += all) {
    const auto g = load<kPack>(args.gradient + i);
    auto m = load<kPack>(args.exp_avg + i), v = load<kPack>(args.exp_avg_sq + i);
    auto weight = args.weight ? load<kPack>(args.weight + i) : load<kPack>(parameter + i);
    for (int k = 0; k < kPack; ++k) {
      const float now = g[k] * scale;
      m[k] = m[k] * args.beta1 + now * (1.0f - args.beta1);
      v[k] = v[k] * args.beta2 + now * now * (1.0f - args.beta2);
      weight[k] = weight[k] * decay - size * m[k] / (sqrtf(v[k]) * root + args.eps);
    }
    store(args.exp_avg + i, m);
    store(args.exp_avg_sq + i, v);
    if (args.weight) store(args.weight + i, weight);
    store(parameter + i, weight);
  }
}

template <class T>
void adam_w(const AdamWArgs& args, int64_t begin, int64_t end) {
  bool fits = fits_packs<T>(args.parameter, begin, end) && fits_packs<float>(args.gradient, begin, end);
  for (const float* state : {args.weight, args.exp_avg, args.exp_avg_sq})
    fits = fits && fits_packs<float>(state, begin, end);
  by_pack<T>(fits, [&](auto pack) {
    constexpr int64_t kThreads = 256, kMaxBlocks = 4096, kPiece = kThreads * pack;
    const int64_t blocks = std::min((end - begin + kPiece - 1) / kPiece, kMaxBlocks);
    start(args.parameter, {blocks, kThreads}, adam_w_pieces<T, pack>, args, begin, end);
  });
}

PALM_CUDA_KERNEL(adam_w, AdamWArgs);

}  // namespace palm::cuda
