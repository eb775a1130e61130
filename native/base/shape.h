// The legend of shapes, and checks that fail in sentences.
//
//   B batch, T sequence (prompt + response), P prompt, R response, D width, H heads, K head width, F feed-forward
//   width, V vocabulary, L layers, N value bins, S cached positions
#pragma once
#include "base/tensor.h"

#include <string>

namespace palm {

// The axes of a tensor that must agree with a number known elsewhere; -1 accepts any size but 0.
// expect_shape(mask, "mask [B, T]", {2, -1}): throws ErrorKind::shape naming the argument.
void expect_shape(const Tensor& tensor, const char* argument, at::IntArrayRef sizes);

// int64 or int32, [B, T], not empty.
void expect_token_shape(const Tensor& tokens, const char* argument);

// Every entry in [low, high); the error names the place of the first that is not. Costs a synchronisation for tensors
// that are on a GPU already: an id out of range there is a device assert that no later call in the process survives.
void expect_range(const Tensor& ids, const char* argument, int64_t low, int64_t high, const char* fix);

void expect_bool(const Tensor& mask, const char* argument);

// Ids and labels arrive as int32 or int64 on any device; the model wants int64 on its own.
Tensor to_ids(const Tensor& ids, const char* argument, at::Device device);

}  // namespace palm
