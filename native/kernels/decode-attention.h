// Multi-query attention of one new token per row over a cache, as a CUDA kernel: rotates the token's query and key to
// its position, appends its key and value, and attends to the row's keys.
//
// Each block takes a chunk of a row's keys and loads them and their values into shared memory once for all heads. If a
// row has several chunks, the last block to finish combines their sums, always in the same order: the result of a row
// does not depend on the batch it is in.
#pragma once
#include <cstdint>

namespace palm {

struct DecodeAttentionArgs {
  const void* projected;  // [rows, HK query | K key | K value | …], the output of the input projection
  int64_t projected_stride;
  const float *query_cos, *query_sin, *key_cos, *key_sin;  // [capacity, K / 2], as in RotateArgs
  const int64_t* position;                                 // [rows], the position of the token
  void *keys, *values;                                     // [rows, capacity, K], keys rotated
  void* out;                                               // [rows, HK …]
  int64_t out_stride;
  int64_t heads, head, capacity;
  int64_t chunk;     // decode_chunk(heads, head, bytes per element)
  float* partial;    // [rows, chunks, heads, head + 2]
  int32_t* arrived;  // [rows], 0 before and after the kernel
};

constexpr int64_t kDecodeThreads = 128;  // per block

// Row stride, in elements, of keys or values in shared memory: 16 bytes of padding avoid bank conflicts.
constexpr int64_t decode_stride(int64_t head, int64_t element_bytes) {
  const int64_t pack = 16 / element_bytes;
  return (head + pack - 1) / pack * pack + pack;
}

// Bytes of shared memory per block: queries padded to slices of 32, scores, their maxima and sums; keys and values.
constexpr int64_t decode_shared(int64_t heads, int64_t head, int64_t chunk, int64_t element_bytes) {
  const int64_t floats = heads * ((head + 31) / 32 * 32 + chunk + 2);
  return (floats * 4 + 15) / 16 * 16 + 2 * chunk * decode_stride(head, element_bytes) * element_bytes;
}

// Keys per block: as many as fit in the shared memory a block gets by default, minus the few bytes that the kernel uses
// statically; 0 if not even 8 fit.
constexpr int64_t decode_chunk(int64_t heads, int64_t head, int64_t element_bytes) {
  for (int64_t chunk = kDecodeThreads; chunk >= 8; chunk /= 2)
    if (decode_shared(heads, head, chunk, element_bytes) <= 48 * 1024 - 128) return chunk;
  return 0;
}

}  // namespace palm
