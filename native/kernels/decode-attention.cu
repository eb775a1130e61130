#include "kernels/decode-attention.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

constexpr float kHidden = -std::numeric_limits<float>::infinity();
constexpr int kSlice = 32;  // of the head width, held in registers
constexpr int kGroup = 4;   // heads for which a value is loaded once

template <class T>
__device__ float rounded(float x) {
  T stored;
  convert(x, stored);
  convert(stored, x);
  return x;
}

// One job: a chunk of the keys of a row.
template <class T>
struct DecodeJob {
  const DecodeAttentionArgs& args;
  const int64_t row, chunk, position, chunks;
  float *query, *score;  // shared: [heads, padded], [heads, keys of a chunk]

  __device__ DecodeJob(const DecodeAttentionArgs& all, int64_t of_row, int64_t of_chunk)
      : args(all),
        row(of_row),
        chunk(of_chunk),
        position(all.position[of_row]),
        chunks((all.capacity + all.chunk - 1) / all.chunk),
        query(dynamic_shared()),
        score(query + all.heads * padded()) {}

  __device__ int64_t padded() const { return (args.head + kSlice - 1) / kSlice * kSlice; }
  __device__ int64_t used() const { return position / args.chunk + 1; }  // chunks that hold keys
  __device__ const T* projected() const { return static_cast<const T*>(args.projected) + row * args.projected_stride; }
  __device__ T* cached(void* cache, int64_t key) const {
    return static_cast<T*>(cache) + (row * args.capacity + key) * args.head;
  }

  // The pair (x[i], x[i + head / 2]), turned to the token's position.
  __device__ void turn(const T* x, const float* cos, const float* sin, int64_t i, float& front, float& back) const {
    const int64_t half = args.head / 2, at = position * half + i;
    float a, b;
    convert(x[i], a);
    convert(x[i + half], b);
    front = a * cos[at] - b * sin[at];
    back = b * cos[at] + a * sin[at];
  }

  __device__ void turn_queries() const {
    const int64_t half = args.head / 2, empty = padded() - args.head;
    for (int64_t pair = threadIdx.x; pair < args.heads * half; pair += blockDim.x) {
      const int64_t h = pair / half, i = pair % half;
      float front, back;
      turn(projected() + h * args.head, args.query_cos, args.query_sin, i, front, back);
      query[h * padded() + i] = rounded<T>(front);
      query[h * padded() + i + half] = rounded<T>(back);
    }
    for (int64_t i = threadIdx.x; i < args.heads * empty; i += blockDim.x)
      query[i / empty * padded() + args.head + i % empty] = 0.0f;
  }

  __device__ void append() const {
    const T* const key = projected() + args.heads * args.head;
    for (int64_t i = threadIdx.x; i < args.head / 2; i += blockDim.x) {
      float front, back;
      turn(key, args.key_cos, args.key_sin, i, front, back);
      convert(front, cached(args.keys, position)[i]);
      convert(back, cached(args.keys, position)[i + args.head / 2]);
    }
    for (int64_t i = threadIdx.x; i < args.head; i += blockDim.x) cached(args.values, position)[i] = key[args.head + i];
  }

  // A thread a key: its scores with all heads.
  template <int kPack>
  __device__ void score_keys() const {
    const int64_t key = chunk * args.chunk + threadIdx.x;
    for (int64_t slice = 0; slice < args.head; slice += kSlice) {
      float own[kSlice] = {};
      for (int i = 0; i < kSlice; i += kPack) {
        if (key > position || slice + i >= args.head) continue;
        const auto pack = load<kPack>(cached(args.keys, key) + slice + i);
        for (int k = 0; k < kPack; ++k) own[i + k] = pack[k];
      }
      for (int64_t h = 0; h < args.heads; ++h) {
        float sum = slice == 0 ? 0.0f : score[h * args.chunk + threadIdx.x];
        for (int i = 0; i < kSlice; i += 4) {
          const auto q = load<4>(query + h * padded() + slice + i);
          for (int k = 0; k < 4; ++k) sum += q[k] * own[i + k];
        }
        score[h * args.chunk + threadIdx.x] = key > position ? kHidden : sum;
      }
    }
  }

  // A warp a head: scores become exp(score − top); gives {top, their sum}.
  __device__ void exponentials(int64_t h, float& top, float& total) const {
    float* const own = score + h * args.chunk;
    float most[1] = {kHidden}, sum[1] = {};
    for (int64_t i = threadIdx.x % 32; i < args.chunk; i += 32) most[0] = fmaxf(most[0], own[i]);
    warp_reduce(most, [](float(&a)[1], const float(&b)[1]) { a[0] = fmaxf(a[0], b[0]); });
    for (int64_t i = threadIdx.x % 32; i < args.chunk; i += 32) {
      own[i] = expf(own[i] - most[0]);
      sum[0] += own[i];
    }
    warp_reduce(sum, [](float(&a)[1], const float(&b)[1]) { a[0] += b[0]; });
    top = most[0];
    total = sum[0];
  }

  __device__ float* partial(int64_t of_chunk, int64_t h) const {
    return args.partial + ((row * chunks + of_chunk) * args.heads + h) * (args.head + 2);
  }
  __device__ T* out(int64_t h) const { return static_cast<T*>(args.out) + row * args.out_stride + h * args.head; }

  // A warp takes kGroup heads, a thread every 32nd column.
  __device__ void sum_values() const {
    const int64_t warps = blockDim.x / 32, lane = threadIdx.x % 32, first = chunk * args.chunk;
    const int64_t count = min(args.chunk, position + 1 - first);
    for (int64_t h = threadIdx.x / 32; h < args.heads; h += warps * kGroup) {
      float top[kGroup], total[kGroup];
      for (int g = 0; g < kGroup; ++g)
        if (h + g * warps < args.heads) exponentials(h + g * warps, top[g], total[g]);
      __syncwarp();
      for (int64_t i = lane; i < args.head; i += 32) {
        float sum[kGroup] = {};
        for (int64_t key = 0; key < count; ++key) {
          float value;
          convert(cached(args.values, first + key)[i], value);
          for (int g = 0; g < kGroup; ++g)
            if (h + g * warps < args.heads) sum[g] += score[(h + g * warps) * args.chunk + key] * value;
        }
        for (int g = 0; g < kGroup; ++g) {
          if (h + g * warps >= args.heads) continue;
          if (used() == 1)
            convert(sum[g] / total[g], out(h + g * warps)[i]);
          else
            partial(chunk, h + g * warps)[i] = sum[g];
        }
      }
      for (int g = 0; g < kGroup; ++g) {
        if (lane > 0 || used() == 1 || h + g * warps >= args.heads) continue;
        partial(chunk, h + g * warps)[args.head] = top[g];
        partial(chunk, h + g * warps)[args.head + 1] = total[g];
      }
    }
  }

  __device__ void join() const {
    for (int64_t o = threadIdx.x; o < args.heads * args.head; o += blockDim.x) {
      const int64_t h = o / args.head, i = o % args.head;
      float top = kHidden, sum = 0.0f, total = 0.0f;
      for (int64_t c = 0; c < used(); ++c) top = fmaxf(top, partial(c, h)[args.head]);
      for (int64_t c = 0; c < used(); ++c) {
        const float scale = expf(partial(c, h)[args.head] - top);
        sum += scale * partial(c, h)[i];
        total += scale * partial(c, h)[args.head + 1];
      }
      convert(sum / total, out(h)[i]);
    }
  }
};

template <class T, int kPack>
__global__ void decode_attention_chunks(DecodeAttentionArgs args, int64_t begin, int64_t end) {
  const int64_t chunks = (args.capacity + args.chunk - 1) / args.chunk;
  for (int64_t each = blockIdx.x; each < (end - begin) * chunks; each += gridDim.x) {
    const DecodeJob<T> job(args, begin + each / chunks, each % chunks);
    if (job.chunk >= job.used()) continue;
    job.turn_queries();
    if (job.chunk == job.used() - 1) job.append();
    __syncthreads();
    job.template score_keys<kPack>();
    __syncthreads();
    job.sum_values();
    if (job.used() > 1) {
      __shared__ bool last;
      __threadfence();
      __syncthreads();
      if (threadIdx.x == 0) last = atomicAdd(args.arrived + job.row, 1) == job.used() - 1;
      __syncthreads();
      if (last) {
        __threadfence();
        job.join();
        if (threadIdx.x == 0) args.arrived[job.row] = 0;
      }
    }
    __syncthreads();  // shared memory is the next job's
  }
}

template <class T>
void decode_attention(const DecodeAttentionArgs& args, int64_t begin, int64_t end) {
  const int64_t chunks = (args.capacity + args.chunk - 1) / args.chunk;
  const int64_t shared = decode_shared(args.heads, args.head, args.chunk) * static_cast<int64_t>(sizeof(float));
  by_pack<T>(fits_packs<T>(args.keys, args.head, args.head), [&](auto pack) {
    start(args.keys, {(end - begin) * chunks, args.chunk, shared}, decode_attention_chunks<T, pack>, args, begin, end);
  });
}

PALM_CUDA_KERNEL(decode_attention, DecodeAttentionArgs);

}  // namespace palm::cuda
