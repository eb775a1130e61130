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

// One job: a chunk of the keys of one head in a row, for the group of query heads that share them. Query heads are
// counted within the group. Indices within a row fit in 32 bits.
template <class T, int kPack>
struct DecodeJob {
  const DecodeAttentionArgs& args;
  const int64_t row;
  const int kv_head, part, position, heads, head, keys_of_chunk, stride;  // `part`: which of the chunks that hold keys
  const int seen, begin;               // the first position that the token attends to, and the first of its chunk
  float *query, *score, *top, *total;  // shared: [heads, padded], [heads, keys], [heads], [heads]
  T *key_tile, *value_tile;            // shared: [keys, stride]

  __device__ DecodeJob(const DecodeAttentionArgs& all, int tile_stride, int64_t of_head, int of_part)
      : args(all),
        row(of_head / all.kv_heads),
        kv_head(static_cast<int>(of_head % all.kv_heads)),
        part(of_part),
        position(static_cast<int>(all.position[row])),
        heads(static_cast<int>(all.heads / all.kv_heads)),
        head(static_cast<int>(all.head)),
        keys_of_chunk(static_cast<int>(all.chunk)),
        stride(tile_stride),
        seen(all.window == 0 ? 0 : max(0, position + 1 - static_cast<int>(all.window))),
        begin(seen / keys_of_chunk * keys_of_chunk),
        query(dynamic_shared()),
        score(query + heads * padded()),
        top(score + heads * keys_of_chunk),
        total(top + heads),
        key_tile(reinterpret_cast<T*>(query + (heads * (padded() + keys_of_chunk + 2) + 3) / 4 * 4)),
        value_tile(key_tile + keys_of_chunk * stride) {}

  __device__ int padded() const { return (head + kSlice - 1) / kSlice * kSlice; }
  __device__ int used() const { return (position - begin) / keys_of_chunk + 1; }  // chunks that hold keys
  __device__ int first() const { return begin + part * keys_of_chunk; }
  __device__ int hidden() const { return max(0, seen - first()); }  // keys of the chunk before `seen`
  __device__ int count() const { return min(keys_of_chunk, position + 1 - first()); }
  __device__ const T* projected(const void* rows, int64_t row_stride, int of_head) const {
    return static_cast<const T*>(rows) + row * row_stride + of_head * head;
  }
  __device__ T* cached(void* cache, int key) const {
    return static_cast<T*>(cache) + ((row * args.kv_heads + kv_head) * args.capacity + key) * head;
  }

  // Loads the cached keys and values into shared memory.
  __device__ void stage() const {
    const int packs = head / kPack, all = min(keys_of_chunk, position - first()) * packs;
    const T *const keys = cached(args.keys, first()), *const values = cached(args.values, first());
    for (int own = threadIdx.x; own < all; own += kDecodeThreads * kAhead) {
      Pack<T, kPack> key[kAhead], value[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int at = min(own + a * static_cast<int>(kDecodeThreads), all - 1);
        key[a] = *reinterpret_cast<const Pack<T, kPack>*>(keys + at * kPack);
        value[a] = *reinterpret_cast<const Pack<T, kPack>*>(values + at * kPack);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int at = own + a * static_cast<int>(kDecodeThreads);
        if (at >= all) break;
        const int place = at / packs * stride + at % packs * kPack;
        *reinterpret_cast<Pack<T, kPack>*>(key_tile + place) = key[a];
        *reinterpret_cast<Pack<T, kPack>*>(value_tile + place) = value[a];
      }
    }
  }

  // Calls write(place, number) for the elements of a head at `item` after its rotation to the token's position: items
  // 0 … turned / 2 − 1 are pairs, the others elements that do not turn.
  template <class Write>
  __device__ void turn(const T* x, const float* cos, const float* sin, int item, const Write& write) const {
    const int turned = static_cast<int>(args.turned), half = turned / 2;
    float a, b;
    if (item >= half) {
      convert(x[item + half], a);
      write(item + half, a);
      return;
    }
    const int64_t at = static_cast<int64_t>(position) * half + item;
    convert(x[item], a);
    convert(x[item + half], b);
    write(item, a * cos[at] - b * sin[at]);
    write(item + half, b * cos[at] + a * sin[at]);
  }
  __device__ int items() const { return head - static_cast<int>(args.turned) / 2; }  // of a head

  __device__ void turn_queries() const {
    const int each = items(), empty = padded() - head;
    for (int item = threadIdx.x; item < heads * each; item += kDecodeThreads) {
      const int h = item / each;
      const T* const x = projected(args.query, args.query_stride, kv_head * heads + h);
      turn(x, args.query_cos, args.query_sin, item % each,
           [&](int i, float turned) { query[h * padded() + i] = rounded<T>(turned) * args.scale; });
    }
    for (int i = threadIdx.x; i < heads * empty; i += kDecodeThreads)
      query[i / empty * padded() + head + i % empty] = 0.0f;
  }

  // Writes the token's own key and value to the cache and to the tiles.
  __device__ void append() const {
    const T *const key = projected(args.key, args.key_stride, kv_head), *const value = projected(
                                                                            args.value, args.value_stride, kv_head);
    const int own = (position - first()) * stride;
    for (int item = threadIdx.x; item < items(); item += kDecodeThreads)
      turn(key, args.key_cos, args.key_sin, item, [&](int i, float turned) {
        convert(turned, key_tile[own + i]);
        cached(args.keys, position)[i] = key_tile[own + i];
      });
    for (int i = threadIdx.x; i < head; i += kDecodeThreads)
      cached(args.values, position)[i] = value_tile[own + i] = value[i];
  }

  // Products of queries and keys. One thread per key: for all heads or, with fewer keys than threads, for some of them.
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
        score[h * keys_of_chunk + key] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
      }
    }
  }

  // What softmax sees of a product of query head h with a key of the chunk.
  __device__ float seen_score(int h, int key, float product) const {
    if (key < hidden() || key >= count()) return kHidden;
    if (args.softcap != 0.0f) product = args.softcap * tanhf(product / args.softcap);
    if (!args.alibi) return product;
    const float bias = args.alibi[kv_head * heads + h] * static_cast<float>(first() + key);
    return product + (args.alibi_rounded ? rounded<BFloat16>(bias) * args.scale : bias);
  }

  // One warp per head: products become exp(score − top), and `total` their sum.
  __device__ void exponentials() const {
    const int lane = threadIdx.x % 32;
    for (int h = threadIdx.x / 32; h < heads; h += kDecodeThreads / 32) {
      float* const own = score + h * keys_of_chunk;
      float largest[1] = {kHidden}, sum[1] = {};
      for (int i = lane; i < keys_of_chunk; i += 32) largest[0] = fmaxf(largest[0], own[i] = seen_score(h, i, own[i]));
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

  __device__ float* partial(int of_part, int h) const {
    return args.partial + ((row * args.chunks + of_part) * args.heads + kv_head * heads + h) * (head + 2);
  }
  __device__ T* out(int h) const {
    return static_cast<T*>(args.out) + row * args.out_stride + (kv_head * heads + h) * head;
  }

  // One thread per pack of columns of a head.
  __device__ void sum_values() const {
    const int packs = head / kPack, all = heads * packs, keys = count();
    for (int item = threadIdx.x; item < all; item += kDecodeThreads) {
      const int h = item / packs, column = item % packs * kPack;
      Floats<kPack> sum{};
#pragma unroll 4
      for (int key = hidden(); key < keys; ++key) {
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
          partial(part, h)[column + k] = sum[k];
      }
    }
    if (used() == 1) return;
    for (int h = threadIdx.x; h < heads; h += kDecodeThreads) {
      partial(part, h)[head] = top[h];
      partial(part, h)[head + 1] = total[h];
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
  for (int64_t each = begin * args.chunks + blockIdx.x; each < end * args.chunks; each += gridDim.x) {
    const DecodeJob<T, kPack> job(args, tile_stride, each / args.chunks, static_cast<int>(each % args.chunks));
    if (job.part >= job.used()) continue;
    job.stage();
    job.turn_queries();
    if (job.part == job.used() - 1) job.append();
    __syncthreads();
    job.score_keys();
    __syncthreads();
    job.exponentials();
    __syncthreads();
    job.sum_values();
    if (job.used() > 1) {
      __shared__ bool last;
      int32_t* const arrived = args.arrived + each / args.chunks;
      __threadfence();
      __syncthreads();
      if (threadIdx.x == 0) last = atomicAdd(arrived, 1) == job.used() - 1;
      __syncthreads();
      if (last) {
        __threadfence();
        job.join_totals();
        __syncthreads();
        job.join();
        if (threadIdx.x == 0) *arrived = 0;
      }
    }
    __syncthreads();  // the next job reuses shared memory
  }
}

template <class T>
void decode_attention(const DecodeAttentionArgs& args, int64_t begin, int64_t end) {
  const int64_t shared = decode_shared(args.heads / args.kv_heads, args.head, args.chunk, sizeof(T));
  const auto fits = [&](const void* cache) { return fits_packs<T>(cache, args.head, args.head); };
  by_pack<T>(fits(args.keys) && fits(args.values), [&](auto pack) {
    start(args.keys, {(end - begin) * args.kv_heads * args.chunks, kDecodeThreads, shared},
          decode_attention_chunks<T, pack>, args, static_cast<int>(decode_stride(args.head, sizeof(T))),
          begin * args.kv_heads, end * args.kv_heads);
  });
}

PALM_CUDA_KERNEL(decode_attention, DecodeAttentionArgs);

}  // namespace palm::cuda
