// Multi-query attention (Shazeer 2019): H query heads read one key and one value head. Heads are folded into rows,
// so that both products are one batched GEMM against the single head and nothing is transposed.
//
//   out = softmax(scale · q kᵀ + mask) v
#pragma once
#include "base/tensor.h"

#include "model/dropout.h"

namespace palm {

Tensor attention(const Tensor& query,    // [B, T, H, K]
                 const Tensor& key,      // [B, S, K]
                 const Tensor& value,    // [B, S, K]
                 const Tensor& visible,  // bool, broadcasts to [B, T, 1, S]; undefined: everything is visible
                 double scale, const Dropout& dropout);  // → [B, T, H·K]

}  // namespace palm
