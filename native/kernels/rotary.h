// Rotary positions (Su et al. 2021, halves as in GPT-NeoX) with the decay of xPos (Sun et al. 2022).
//
//   θ[t, i] = t · 10000^(−2i/K)                       i = 0 … K/2 − 1, the same for both halves
//   s[t, i] = ζ_i ^ (t / base),  ζ_i = (2i + 0.4 K) / (1.4 K)
//   q ← (q cos θ + rotate_half(q) sin θ) · s,   k ← (k cos θ + rotate_half(k) sin θ) / s
//
// A score depends on s only through ζ^((i − j)/base). Exponents count from position 0 regardless of the length, so a
// cached key does not depend on how long a response becomes. Powers are computed in float64. They stay above 2^−87 for
// the first 48 · base positions, which leaves room in float32 for the gradients they multiply; longer sequences are an
// error.
#pragma once
#include "base/tensor.h"
#include "kernels/kernels.h"

#include <optional>

namespace palm {

struct Rotary {
  Tensor cos, sin;  // [..., T, 1, K] float64
  Tensor scale;     // like cos; undefined without xPos

  Rotary to(at::ScalarType dtype) const;
};

Rotary rotary_table(const Tensor& positions,            // [T] or [B, T], any integer type
                    int64_t dim_head,                   // K, even
                    std::optional<double> scale_base);  // nothing: plain rotary

// The max length of a sequence under xPos with this base; and a check that throws if `length` exceeds it.
int64_t max_sequence_length(double scale_base);
void expect_within_reach(int64_t length, const char* argument, double scale_base);

// Tables are float32 or float64. bfloat16 would not distinguish positions beyond 256.
Tensor rotate_query(const Tensor& query,  // [B, T, H, K]
                    const Rotary& rotary);
Tensor rotate_key(const Tensor& key,  // [B, T, 1, K]
                  const Rotary& rotary);

// The same rotation as four float32 tables [T, K/2] for the fused kernel, multiplied by xPos and by the scale of the
// scores.
struct RotaryTables {
  Tensor query_cos, query_sin, key_cos, key_sin;
};
RotaryTables fold_scales(const Rotary& rotary, double query_scale);

// Rotates the queries and the key at the start of every row in place; `inverse` applies the transpose, for their
// gradients.
void rotate_rows(const Kernels& kernels, const Tensor& rows,  // [B·T, HK + K + …]
                 const RotaryTables& tables, int64_t heads, bool inverse);

}  // namespace palm
