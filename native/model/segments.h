// Several sequences in one row ("packing"): `segments` [B, T] holds an id per token, constant within a sequence and
// different for adjacent sequences. Scores depend only on distances, so positions continue across sequences; a token
// attends only to keys of its own sequence.
#pragma once
#include "base/tensor.h"

namespace palm {

// [B, T] bool: whether a token is the first of its sequence.
Tensor starts_sequence(const Tensor& segments);
// [B, T] int64: the index in the row at which a token's sequence begins.
Tensor sequence_start(const Tensor& segments);
// Masks other sequences: `visible` broadcasts to [B, T, 1, T], which is the shape of the result.
Tensor within_sequence(const Tensor& visible, const Tensor& segments);

// What each token attends to without a cache, [1 or B, T, 1, T] bool: the last `window` tokens, or all before it with
// window 0, of its sequence. If not causal, [B, 1, 1, T]: all tokens but padding, whose ids are negative.
Tensor visible_in_rows(const Tensor& tokens,    // [B, T]
                       const Tensor& segments,  // [B, T], or undefined
                       bool causal, int64_t window);

}  // namespace palm
