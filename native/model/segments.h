// Several sequences in one row ("packing"): `segments` [B, T] holds an id for every token, constant within a sequence
// and different between neighbours. Scores depend on distances alone, so positions go on from one sequence to the next;
// a token only sees keys of its own.
#pragma once
#include "base/tensor.h"

namespace palm {

// [B, T] bool: whether a token is the first of its sequence.
Tensor starts_sequence(const Tensor& segments);
// [B, T] int64: where in its row a token's sequence begins.
Tensor sequence_start(const Tensor& segments);
// Hides other sequences: `visible` broadcasts to [B, T, 1, T], as the result is.
Tensor within_sequence(const Tensor& visible, const Tensor& segments);

}  // namespace palm
