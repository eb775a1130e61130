#include "kernels/decode-attention.h"

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

constexpr float kHidden = -std::numeric_limits<float>::infinity();
constexpr int kSlice = 32;  // slice of the head width that is held in registers
constexpr int kAhead = 4;   // packs of keys (and as many of values) that a thread loads at once

template <class T>
__device__ float rounded(float x) {
  T stored;
  convert(x, stored);
  convert(stored, x);
  return x;
}

// One job: a chunk of a row's keys. Indices within a row fit in 32 bits.
template <class T, int kPack>
struct DecodeJob {
  const DecodeAttentionArgs& args;
  const int64_t row;
  const int chunk, position, heads, head, keys_of_chunk, chunks, stride;
  float *query, *score, *top, *total;  // shared: [heads, padded], [heads, keys], [heads], [heads]
  T *key_tile, *value_tile;            // shared: [keys, stride]

  __device__ DecodeJob(const DecodeAttentionArgs& all, int tile_stride, int64_t of_row, int of_chunk)
      : args(all),
        row(of_row),
        chunk(of_chunk),
        position(static_cast<int>(all.position[of_row])),
        heads(static_cast<int>(all.heads)),
        head(static_cast<int>(all.head)),
        keys_of_chunk(static_cast<int>(all.chunk)),
        chunks(static_cast<int>((all.capacity + all.chunk - 1) / all.chunk)),
        stride(tile_stride),
        query(dynamic_shared()),
        score(query + heads * padded()),
        top(score + heads * keys_of_chunk),
        total(top + heads),
        key_tile(reinterpret_cast<T*>(query + (heads * (padded() + keys_of_chunk + 2) + 3) / 4 * 4)),
        value_tile(key_tile + keys_of_chunk * stride) {}

  __device__ int padded() const { return (head + kSlice - 1) / kSlice * kSlice; }
  __device__ int used() const { return position / keys_of_chunk + 1; }  // chunks that hold keys
  __device__ int first() const { return chunk * keys_of_chunk; }
  __device__ int count() const { return min(keys_of_chunk, position + 1 - first()); }
  __device__ const T* projected() const { return static_cast<const T*>(args.projected) + row * args.projected_stride; }
  __device__ T* cached(void* cache, int key) const {
    return static_cast<T*>(cache) + (row * args.capacity + key) * head;
  }

  // Loads the cached keys and values into shared memory.
  __device__ void stage() const {
    const int packs = head / kPack, all = min(keys_of_chunk, position - first()) * packs;
    const T *const keys = cached(args.keys, first()), *const values = cached(args.values, first());
    for (int begin = threadIdx.x; begin < all; begin += kDecodeThreads * kAhead) {
      Pack<T, kPack> key[kAhead], value[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int at = min(begin + a * static_cast<int>(kDecodeThreads), all - 1);
        key[a] = *reinterpret_cast<const Pack<T, kPack>*>(keys + at * kPack);
        value[a] = *reinterpret_cast<const Pack<T, kPack>*>(values + at * kPack);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int at = begin + a * static_cast<int>(kDecodeThreads);
        if (at >= all) break;
        const int place = at / packs * stride + at % packs * kPack;
        *reinterpret_cast<Pack<T, kPack>*>(key_tile + place) = key[a];
        *reinterpret_cast<Pack<T, kPack>*>(value_tile + place) = value[a];
      }
    }
  }

  // The pair (x[i], x[i + head / 2]), rotated to the token's position.
  __device__ void turn(const T* x, const float* cos, const float* sin, int i, float& front, float& back) const {
    const int half = head / 2;
    const int64_t at = static_cast<int64_t>(position) * half + i;
    float a, b;
    convert(x[i], a);
    convert(x[i + half], b);
    front = a * cos[at] - b * sin[at];
    back = b * cos[at] + a * sin[at];
  }

  __device__ void turn_queries() const {
    const int half = head / 2, empty = padded() - head;
    for (int pair = threadIdx.x; pair < heads * half; pair += kDecodeThreads) {
      const int h = pair / half, i = pair % half;
      float front, back;
      turn(projected() + h * head, args.query_cos, args.query_sin, i, front, back);
      query[h * padded() + i] = rounded<T>(front);
      query[h * padded() + i + half] = rounded<T>(back);
    }
    for (int i = threadIdx.x; i < heads * empty; i += kDecodeThreads)
      query[i / empty * padded() + head + i % empty] = 0.0f;
  }

  // Writes the token's own key and value to the cache and to the tiles.
  __device__ void append() const {
    const T* const key = projected() + heads * head;
    const int half = head / 2, own = (position - first()) * stride;
    for (int i = threadIdx.x; i < half; i += kDecodeThreads) {
      float front, back;
      turn(key, args.key_cos, args.key_sin, i, front, back);
      convert(front, key_tile[own + i]);
      convert(back, key_tile[own + i + half]);
      cached(args.keys, position)[i] = key_tile[own + i];
      cached(args.keys, position)[i + half] = key_tile[own + i + half];
    }
    for (int i = threadIdx.x; i < head; i += kDecodeThreads)
      cached(args.values, position)[i] = value_tile[own + i] = key[head + i];
  }

  // One thread per key: for all heads or, with fewer keys than threads, for some of them.
  __device__ void score_keys() const {
    const int key = threadIdx.x % keys_of_chunk, group = threadIdx.x / keys_of_chunk;
    const int groups = kDecodeThreads / keys_of_chunk;
    for (int slice = 0; slice < head; slice += kSlice) {
      float own[kSlice] = {};
#pragma unroll
      for (int i = 0; i < kSlice; i += kPack) {
        if (key >= count() || slice + i >= head) continue;
        const auto pack = load<kPack>(key_tile + key * stride + slice + i);
#pragma unroll
        for (int k = 0; k < kPack; ++k) own[i + k] = pack[k];
      }
      for (int h = group; h < heads; h += groups) {
        float sum[4] = {slice == 0 ? 0.0f : score[h * keys_of_chunk + key]};  // four independent sums hide the latency
#pragma unroll
        for (int i = 0; i < kSlice; i += 4) {
          const auto q = load<4>(query + h * padded() + slice + i);
#pragma unroll
          for (int k = 0; k < 4; ++k) sum[k] += q[k] * own[i + k];
        }
        score[h * keys_of_chunk + key] = key >= count() ? kHidden : (sum[0] + sum[1]) + (sum[2] + sum[3]);
      }
    }
  }

  // One warp per head: scores become exp(score − top), and `total` their sum.
  __device__ void exponentials() const {
    const int lane = threadIdx.x % 32;
    for (int h = threadIdx.x / 32; h < heads; h += kDecodeThreads / 32) {
      float* const own = score + h * keys_of_chunk;
      float largest[1] = {kHidden}, sum[1] = {};
      for (int i = lane; i < keys_of_chunk; i += 32) largest[0] = fmaxf(largest[0], own[i]);
      warp_reduce(largest, [](float(&a)[1], const float(&b)[1]) { a[0] = fmaxf(a[0], b[0]); });
      for (int i = lane; i < keys_of_chunk; i += 32) {
        own[i] = expf(own[i] - largest[0]);
        sum[0] += own[i];
      }
      warp_reduce(sum, [](float(&a)[1], const float(&b)[1]) { a[0] += b[0]; });
      if (lane > 0) continue;
      top[h] = largest[0];
      total[h] = sum[0];
    }
  }

  __device__ float* partial(int of_chunk, int h) const {
    return args.partial + ((row * chunks + of_chunk) * heads + h) * (head + 2);
  }
  __device__ T* out(int h) const { return static_cast<T*>(args.out) + row * args.out_stride + h * head; }

  // One thread per pack of columns of a head.
  __device__ void sum_values() const {
    const int packs = head / kPack, all = heads * packs, keys = count();
    for (int item = threadIdx.x; item < all; item += kDecodeThreads) {
      const int h = item / packs, column = item % packs * kPack;
      Floats<kPack> sum{};
#pragma unroll 4
      for (int key = 0; key < keys; ++key) {
        const float weight = score[h * keys_of_chunk + key];
        const auto value = load<kPack>(value_tile + key * stride + column);
#pragma unroll
        for (int k = 0; k < kPack; ++k) sum[k] += weight * value[k];
      }
#pragma unroll
      for (int k = 0; k < kPack; ++k) {
        if (used() == 1)
          convert(sum[k] / total[h], out(h)[column + k]);
        else
          partial(chunk, h)[column + k] = sum[k];
      }
    }
    if (used() == 1) return;
    for (int h = threadIdx.x; h < heads; h += kDecodeThreads) {
      partial(chunk, h)[head] = top[h];
      partial(chunk, h)[head + 1] = total[h];
    }
  }

  // For every head over all chunks: the max score, and Σ exp(score − max).
  __device__ void join_totals() const {
    for (int h = threadIdx.x; h < heads; h += kDecodeThreads) {
      float largest = kHidden, sum = 0.0f;
#pragma unroll 4
      for (int c = 0; c < used(); ++c) largest = fmaxf(largest, partial(c, h)[head]);
#pragma unroll 4
      for (int c = 0; c < used(); ++c) sum += expf(partial(c, h)[head] - largest) * partial(c, h)[head + 1];
      top[h] = largest;
      total[h] = sum;
    }
  }

  // Each thread handles kOutputs columns at once, to wait for all of them only once.
  __device__ void join() const {
    constexpr int kOutputs = 8;
    const int all = heads * head;
    for (int first_output = threadIdx.x; first_output < all; first_output += kDecodeThreads * kOutputs) {
      const auto output = [&](int k) { return min(first_output + k * static_cast<int>(kDecodeThreads), all - 1); };
      float sum[kOutputs] = {};
      for (int c = 0; c < used(); ++c)
#pragma unroll
        for (int k = 0; k < kOutputs; ++k) {
          const int h = output(k) / head;
          sum[k] += expf(partial(c, h)[head] - top[h]) * partial(c, h)[output(k) % head];
        }
#pragma unroll
      for (int k = 0; k < kOutputs; ++k) {
        const int h = output(k) / head;
        if (first_output + k * kDecodeThreads < all) convert(sum[k] / total[h], out(h)[output(k) % head]);
      }
    }
  }
};

template <class T, int kPack>
__global__ void __launch_bounds__(kDecodeThreads)
    decode_attention_chunks(DecodeAttentionArgs args, int tile_stride, int64_t begin, int64_t end) {
  const int64_t chunks = (args.capacity + args.chunk - 1) / args.chunk;
  for (int64_t each = blockIdx.x; each < (end - begin) * chunks; each += gridDim.x) {
    const DecodeJob<T, kPack> job(args, tile_stride, begin + each / chunks, static_cast<int>(each % chunks));
    if (job.chunk >= job.used()) continue;
    job.stage();
    job.turn_queries();
    if (job.chunk == job.used() - 1) job.append();
    __syncthreads();
    job.score_keys();
    __syncthreads();
    job.exponentials();
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
        job.join_totals();
        __syncthreads();
        job.join();
        if (threadIdx.x == 0) args.arrived[job.row] = 0;
      }
    }
    __syncthreads();  // the next job reuses shared memory
  }
}

template <class T>
void decode_attention(const DecodeAttentionArgs& args, int64_t begin, int64_t end) {
  const int64_t chunks = (args.capacity + args.chunk - 1) / args.chunk;
  const int64_t shared = decode_shared(args.heads, args.head, args.chunk, sizeof(T));
  const auto fits = [&](const void* cache) { return fits_packs<T>(cache, args.head, args.head); };
  by_pack<T>(fits(args.keys) && fits(args.values), [&](auto pack) {
    start(args.keys, {(end - begin) * chunks, kDecodeThreads, shared}, decode_attention_chunks<T, pack>, args,
          static_cast<int>(decode_stride(args.head, sizeof(T))), begin, end);
  });
}

PALM_CUDA_KERNEL(decode_attention, DecodeAttentionArgs);

}  // namespace palm::cuda
