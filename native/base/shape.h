// The legend of shapes, and shape checks with readable errors.
//
//   B batch, T sequence (prompt + response), P prompt, R response, D width, H heads, K head width, F feed-forward
//   width, V vocabulary, L layers, N value bins, S cached positions
#pragma once
#include "base/tensor.h"

#include <string>

namespace palm {

// Checks the rank and sizes of a tensor; -1 accepts any size but 0.
// expect_shape(mask, "mask [B, T]", {2, -1}) throws ErrorKind::shape naming the argument.
void expect_shape(const Tensor& tensor, const char* argument, at::IntArrayRef sizes);

// int64 or int32, [B, T], not empty.
void expect_token_shape(const Tensor& tokens, const char* argument);

// Checks that every entry is in [low, high); the error names the position of the first that is not. Synchronises if the
// tensor is on a GPU: there an out-of-range id triggers a device assert, after which no call in the process works.
void expect_range(const Tensor& ids, const char* argument, int64_t low, int64_t high, const char* fix);

void expect_bool(const Tensor& mask, const char* argument);

// Ids and labels arrive as int32 or int64 on any device; the model needs int64 on its own device.
Tensor to_ids(const Tensor& ids, const char* argument, at::Device device);

// Aligns values computed at the positions that predict tokens 1 … T − 1 with these tokens: flat [B · (T − 1)] → [B, T],
// shifted right by one, with 0 as entry 0 of each row.
Tensor shifted_right(const Tensor& flat, int64_t batch);

}  // namespace palm
