#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

// One block per row, one thread per pack of pairs.
template <class T, int kPack>
__global__ void rotate_rows(RotateArgs args, int64_t begin, int64_t end) {
  const int half = static_cast<int>(args.width) / 2, heads = static_cast<int>(args.heads);
  const float sign = args.inverse ? -1.0f : 1.0f;
  for (int64_t row = begin + blockIdx.x; row < end; row += gridDim.x) {
    const int64_t at = row % args.time * half;
    each_pack<kPack>((heads + args.kv_heads) * half, [&](int64_t pair) {
      const int head = static_cast<int>(pair) / half, i = static_cast<int>(pair) % half;
      const bool is_query = head < heads;
      const auto cos = load<kPack>((is_query ? args.query_cos : args.key_cos) + at + i);
      const auto sin = load<kPack>((is_query ? args.query_sin : args.key_sin) + at + i);
      T* const x = static_cast<T*>(args.x) + row * args.stride + head * args.head + i;
      const auto a = load<kPack>(x), b = load<kPack>(x + half);
      Floats<kPack> front, back;
      for (int k = 0; k < kPack; ++k) {
        front[k] = a[k] * cos[k] - b[k] * sin[k] * sign;
        back[k] = b[k] * cos[k] + a[k] * sin[k] * sign;
      }
      store(x, front);
      store(x + half, back);
    });
  }
}

template <class T>
void rotate(const RotateArgs& args, int64_t begin, int64_t end) {
  const int64_t half = args.width / 2, pairs = (args.heads + args.kv_heads) * half;
  bool fits = fits_packs<T>(args.x, args.stride, half) && fits_packs<T>(args.x, args.head, half);
  for (const float* table : {args.query_cos, args.query_sin, args.key_cos, args.key_sin})
    fits = fits && fits_packs<float>(table, half, half);
  by_pack<T>(fits, [&](auto pack) {
    start(args.x, {end - begin, threads_for(pairs, pack)}, rotate_rows<T, pack>, args, begin, end);
  });
}

PALM_CUDA_KERNEL(rotate, RotateArgs);

}  // namespace palm::cuda
