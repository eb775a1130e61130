// Attention of one new token per row over a cache, as a CUDA kernel: rotates the token's queries and keys to its
// position, appends its keys and values, and attends to the row's keys. Each head of keys is shared by a group of
// heads / kv_heads consecutive query heads.
//
// Each block takes a chunk of a head's keys and loads them and their values into shared memory once for the whole
// group. If a head has several chunks, the last block to finish combines their sums, always in the same order: the
// result of a row does not depend on the batch it is in.
#pragma once
#include <cstdint>

namespace palm {

struct DecodeAttentionArgs {
  const void *query, *key, *value;  // [rows, heads · head] and twice [rows, kv_heads · head], of the token, not rotated
  int64_t query_stride, key_stride, value_stride;  // elements from row to row
  int64_t turned;                                  // dimensions of a head that rotate; 0 without rotary positions
  const float *query_cos, *query_sin, *key_cos, *key_sin;  // [capacity, turned / 2], as in RotateArgs
  const int64_t* position;                                 // [rows], the position of the token
  void *keys, *values;                                     // [rows, kv_heads, capacity, head], keys rotated
  void* out;                                               // [rows, heads · head]
  int64_t out_stride;
  int64_t heads, kv_heads, head, capacity;
  int64_t window;      // the last positions that a token attends to, itself included; 0: to all
  float scale;         // of the scores
  float softcap;       // scores become softcap · tanh(score / softcap); 0: they stay
  const float* alibi;  // [heads] slopes, each added to a score times the key's position; or null
  bool alibi_rounded;  // slope · position is rounded to bfloat16 and scaled like scores
  int64_t chunk;       // decode_chunk(heads / kv_heads, head, bytes per element)
  int64_t chunks;      // decode_chunks(capacity, chunk, window)
  float* partial;      // [rows, chunks, heads, head + 2]
  int32_t* arrived;    // [rows, kv_heads], 0 before and after the kernel
};

constexpr int64_t kDecodeThreads = 128;  // per block

// Row stride, in elements, of keys or values in shared memory: 16 bytes of padding avoid bank conflicts.
constexpr int64_t decode_stride(int64_t head, int64_t element_bytes) {
  const int64_t pack = 16 / element_bytes;
  return (head + pack - 1) / pack * pack + pack;
}

// Bytes of shared memory per block, for `heads` query heads that share keys: queries padded to slices of 32, scores,
// their maxima and sums; keys and values.
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

// The most chunks that hold keys to which one token attends.
constexpr int64_t decode_chunks(int64_t capacity, int64_t chunk, int64_t window) {
  const int64_t all = (capacity + chunk - 1) / chunk, seen = (window + chunk - 2) / chunk + 1;
  return window > 0 && seen < all ? seen : all;
}

}  // namespace palm
