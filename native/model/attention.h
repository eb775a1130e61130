// Attention of H query heads over Kv heads of keys and values, each shared by H / Kv consecutive query heads: Kv = 1 is
// multi-query attention (Shazeer 2019), Kv < H grouped-query attention (Ainslie et al. 2023). The query heads of a
// group are folded into rows, so that each of the two products is one batched GEMM and no key is copied.
//
//   out = softmax(cap(scale · q kᵀ) + slope · position of the key + mask) v,  cap(s) = softcap · tanh(s / softcap)
//
// ALiBi (Press et al. 2022) adds −slope · distance, which differs only by a constant of the row.
#pragma once
#include "base/tensor.h"

#include <optional>

#include "model/dropout.h"

namespace palm {

struct Scoring {
  double scale;
  std::optional<double> softcap;
  Tensor alibi;  // [H] slopes, or undefined
  bool alibi_rounded = false;
};

Tensor attention(const Tensor& query,    // [B, T, H, K]
                 const Tensor& key,      // [B, Kv, S, K]
                 const Tensor& value,    // [B, Kv, S, K]
                 const Tensor& visible,  // bool, broadcasts to [B, T, 1, S]; undefined: everything is visible
                 const Scoring& scoring, const Dropout& dropout);  // → [B, T, H·K]

}  // namespace palm
