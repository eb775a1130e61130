// What a decoder is, as data. A family of models is a description (src/families/ makes it of a configuration); PaLM is
// one: a parallel block, one head of keys and values, xPos. Families add fields with the code that reads them.
#pragma once
#include "base/tensor.h"

#include <cstdint>
#include <optional>

namespace palm {

// How much of a block's activations is computed again in the backward pass instead of being kept.
enum class Recompute {
  none,       // all is kept
  selective,  // layer norm and SwiGLU again: cheap, and half of the memory
  full,       // only the block's input is kept: least memory, a forward pass more
};

struct DecoderDescription {
  int64_t num_tokens;                     // V
  int64_t dim;                            // D
  int64_t depth;                          // L
  int64_t heads;                          // H
  int64_t kv_heads;                       // Kv, of which each serves H / Kv query heads in a row
  int64_t dim_head;                       // K, even
  int64_t ff;                             // F
  bool causal;                            // false: every token sees every other; negative ids are padding
  bool qk_norm;                           // l2-normalise queries and keys, with learned scales
  double qk_scale;                        // of the scores before softmax
  std::optional<double> xpos_scale_base;  // nothing: plain rotary positions
  int64_t ignore_index;                   // target id that the loss leaves out
  double attn_dropout, ff_dropout;        // in training mode only
  Recompute recompute;
  at::ScalarType dtype;
  at::Device device{at::kCPU};  // at::Device cannot be made from nothing; always set

  int64_t queries() const { return heads * dim_head; }         // HK
  int64_t keys() const { return kv_heads * dim_head; }         // KvK, and as many values
  int64_t attended() const { return queries() + 2 * keys(); }  // what the input projection gives to attention
  int64_t projected() const { return attended() + 2 * ff; }    // all that it gives: feed-forward (value, gate) last
  int64_t block_hidden() const { return queries() + ff; }      // what the output projection reads
};

}  // namespace palm
