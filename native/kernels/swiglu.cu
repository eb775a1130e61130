#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

// body(row, i) for every pack: a job is a part of a row that one block covers, one pack per thread.
template <int kPack, class Body>
__device__ void each_job(int64_t begin, int64_t end, int64_t width, const Body& body) {
  const int64_t piece = blockDim.x * kPack, pieces = (width + piece - 1) / piece;
  for (int64_t job = blockIdx.x; job < (end - begin) * pieces; job += gridDim.x) {
    const int64_t i = job % pieces * piece + threadIdx.x * kPack;
    if (i < width) body(begin + job / pieces, i);
  }
}

static Grid jobs(int64_t rows, int64_t width, int64_t pack) {
  const int64_t threads = threads_for(width, pack), piece = threads * pack;
  return {rows * ((width + piece - 1) / piece), threads};
}

template <class T, int kPack>
__global__ void swiglu_rows(SwigluArgs args, int64_t begin, int64_t end) {
  each_job<kPack>(begin, end, args.width, [&](int64_t row, int64_t i) {
    const T* const from = static_cast<const T*>(args.x) + row * args.x_stride + i;
    const auto value = load<kPack>(from), gate = load<kPack>(from + args.width);
    Floats<kPack> out;
    for (int k = 0; k < kPack; ++k) out[k] = value[k] * gate[k] * sigmoid(gate[k]);
    store(static_cast<T*>(args.y) + row * args.y_stride + i, out);
  });
}

// d value = dy silu(g),  d gate = dy value σ(g) (1 + g (1 − σ(g))).
template <class T, int kPack>
__global__ void swiglu_grad_rows(SwigluGradArgs args, int64_t begin, int64_t end) {
  each_job<kPack>(begin, end, args.width, [&](int64_t row, int64_t i) {
    const T* const from = static_cast<const T*>(args.x) + row * args.x_stride + i;
    T* const to = static_cast<T*>(args.dx) + row * args.dx_stride + i;
    const auto value = load<kPack>(from), gate = load<kPack>(from + args.width);
    const auto d = load<kPack>(static_cast<const T*>(args.dy) + row * args.dy_stride + i);
    Floats<kPack> dvalue, dgate, y;
    for (int k = 0; k < kPack; ++k) {
      const float s = sigmoid(gate[k]);
      y[k] = value[k] * gate[k] * s;
      dvalue[k] = d[k] * gate[k] * s;
      dgate[k] = d[k] * value[k] * s * (1.0f + gate[k] * (1.0f - s));
    }
    store(to, dvalue);
    store(to + args.width, dgate);
    if (args.y) store(static_cast<T*>(args.y) + row * args.y_stride + i, y);
  });
}

template <class T>
void swiglu(const SwigluArgs& args, int64_t begin, int64_t end) {
  const bool fits =
      fits_packs<T>(args.x, args.x_stride, args.width) && fits_packs<T>(args.y, args.y_stride, args.width);
  by_pack<T>(fits, [&](auto pack) {
    start(args.x, jobs(end - begin, args.width, pack), swiglu_rows<T, pack>, args, begin, end);
  });
}

template <class T>
void swiglu_grad(const SwigluGradArgs& args, int64_t begin, int64_t end) {
  const bool fits = fits_packs<T>(args.x, args.x_stride, args.width) &&
                    fits_packs<T>(args.dy, args.dy_stride, args.width) &&
                    fits_packs<T>(args.dx, args.dx_stride, args.width) &&
                    (!args.y || fits_packs<T>(args.y, args.y_stride, args.width));
  by_pack<T>(fits, [&](auto pack) {
    start(args.x, jobs(end - begin, args.width, pack), swiglu_grad_rows<T, pack>, args, begin, end);
  });
}

PALM_CUDA_KERNEL(swiglu, SwigluArgs);
PALM_CUDA_KERNEL(swiglu_grad, SwigluGradArgs);

}  // namespace palm::cuda
