// Multi-query attention of one new token a row over a cache, a kernel of CUDA: the token's query and key are turned to
// its position, its key and value are appended, and its row's keys are read once for all heads.
//
// A block takes a chunk of a row's keys, and reads them and their values once, for all heads, into shared memory. Where
// a row has several chunks, the last block to finish joins their sums, always in the same order: what a row gets does
// not depend on the batch it is in.
#pragma once
#include <cstdint>

namespace palm {

struct DecodeAttentionArgs {
  const void* projected;  // [rows, HK query | K key | K value | …], as the input product left it
  int64_t projected_stride;
  const float *query_cos, *query_sin, *key_cos, *key_sin;  // [capacity, K / 2], as in RotateArgs
  const int64_t* position;                                 // [rows], of the token
  void *keys, *values;                                     // [rows, capacity, K], keys turned
  void* out;                                               // [rows, HK …]
  int64_t out_stride;
  int64_t heads, head, capacity;
  int64_t chunk;     // decode_chunk(heads, head, bytes of an element)
  float* partial;    // [rows, chunks, heads, head + 2]
  int32_t* arrived;  // [rows], 0 before and after
};

constexpr int64_t kDecodeThreads = 128;  // of a block

// Elements of a row of keys or values in shared memory: 16 bytes more than it needs, so that rows start in other banks.
constexpr int64_t decode_stride(int64_t head, int64_t element_bytes) {
  const int64_t pack = 16 / element_bytes;
  return (head + pack - 1) / pack * pack + pack;
}

// Bytes of shared memory that a block needs: queries padded to slices of 32, scores, their maxima and sums; keys and
// values.
constexpr int64_t decode_shared(int64_t heads, int64_t head, int64_t chunk, int64_t element_bytes) {
  const int64_t floats = heads * ((head + 31) / 32 * 32 + chunk + 2);
  return (floats * 4 + 15) / 16 * 16 + 2 * chunk * decode_stride(head, element_bytes) * element_bytes;
}

// Keys of a block: as many as fit into what a block may have without asking for more, less the few bytes that the
// kernel holds statically; 0 where even 8 are too many.
constexpr int64_t decode_chunk(int64_t heads, int64_t head, int64_t element_bytes) {
  for (int64_t chunk = kDecodeThreads; chunk >= 8; chunk /= 2)
    if (decode_shared(heads, head, chunk, element_bytes) <= 48 * 1024 - 128) return chunk;
  return 0;
}

}  // namespace palm
