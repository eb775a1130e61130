// Multi-query attention of one new token a row over a cache, a kernel of CUDA: the token's query and key are turned to
// its position, its key and value are appended, and its row's keys are read once for all heads.
//
// A block takes a chunk of a row's keys. Where a row has several, the last block to finish joins their sums, always in
// the same order: what a row gets does not depend on the batch it is in.
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
  int64_t chunk;     // decode_chunk(heads, head)
  float* partial;    // [rows, chunks, heads, head + 2]
  int32_t* arrived;  // [rows], 0 before and after
};

// Floats of shared memory that a block needs: queries, padded to slices of 32, and scores.
constexpr int64_t decode_shared(int64_t heads, int64_t head, int64_t chunk) {
  return heads * ((head + 31) / 32 * 32 + chunk);
}

// Keys of a block: as many as its scores leave room for in 48 KiB; 0 where even 32 are too many.
constexpr int64_t decode_chunk(int64_t heads, int64_t head) {
  for (int64_t chunk = 256; chunk >= 32; chunk /= 2)
    if (decode_shared(heads, head, chunk) <= 12 * 1024) return chunk;
  return 0;
}

}  // namespace palm
