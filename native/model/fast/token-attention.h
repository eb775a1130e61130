// Attention while a decode step computes one token per row, in place of attention over the tokens that a block was
// given: rotates queries and keys to the positions of their rows, adds keys and values to the cache of the layer, and
// attends to the row's keys.
#pragma once
#include <functional>

#include "base/tensor.h"

namespace palm {

using TokenAttention = std::function<void(int64_t layer,
                                          const Tensor& query,                     // [B, HK], not rotated
                                          const Tensor& key, const Tensor& value,  // [B, KvK], not rotated
                                          const Tensor& out)>;                     // [B, HK], written

}  // namespace palm
