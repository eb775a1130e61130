// The description of a decoder as data. A model family is a description that src/families/ derives from a
// configuration. PaLM is one: parallel blocks, one head of keys and values, xPos. New families add fields together with
// the code that uses them.
#pragma once
#include "base/tensor.h"

#include <cstdint>
#include <optional>

namespace palm {

// Which activations of a block the backward pass recomputes instead of keeping them.
enum class Recompute {
  none,       // keep everything
  selective,  // recompute layer norm and SwiGLU: cheap, and saves half of the memory
  full,       // keep only the block's input: the least memory, but one more forward pass
};

struct DecoderDescription {
  int64_t num_tokens;                     // V
  int64_t dim;                            // D
  int64_t depth;                          // L
  int64_t heads;                          // H
  int64_t kv_heads;                       // Kv; each is shared by H / Kv consecutive query heads
  int64_t dim_head;                       // K, even
  int64_t ff;                             // F
  bool causal;                            // false: every token sees every other; negative ids are padding
  bool qk_norm;                           // l2-normalise queries and keys, with learned scales
  double qk_scale;                        // scale of the scores before softmax
  std::optional<double> xpos_scale_base;  // nothing: plain rotary positions
  int64_t ignore_index;                   // target id that the loss ignores
  double attn_dropout, ff_dropout;        // in training mode only
  Recompute recompute;
  at::ScalarType dtype;
  at::Device device{at::kCPU};  // at::Device has no default constructor; always set

  int64_t query_width() const { return heads * dim_head; }               // HK
  int64_t key_width() const { return kv_heads * dim_head; }              // KvK, the same for values
  int64_t qkv_width() const { return query_width() + 2 * key_width(); }  // attention's part of the input projection
  int64_t input_width() const { return qkv_width() + 2 * ff; }  // input projection: q, k, v, feed-forward (value, gate)
  int64_t hidden_width() const { return query_width() + ff; }   // inputs of the output projection
};

}  // namespace palm
