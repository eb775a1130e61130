// Attention of H query heads over Kv heads of keys and values, of which each serves H / Kv query heads in a row: with
// one it is multi-query (Shazeer 2019), with fewer than H grouped-query attention (Ainslie et al. 2023). The heads of a
// group are folded into rows, so that both products are one batched GEMM and no key is copied.
//
//   out = softmax(scale · q kᵀ + mask) v
#pragma once
#include "base/tensor.h"

#include "model/dropout.h"

namespace palm {

Tensor attention(const Tensor& query,    // [B, T, H, K]
                 const Tensor& key,      // [B, Kv, S, K]
                 const Tensor& value,    // [B, Kv, S, K]
                 const Tensor& visible,  // bool, broadcasts to [B, T, 1, S]; undefined: everything is visible
                 double scale, const Dropout& dropout);  // → [B, T, H·K]

}  // namespace palm
