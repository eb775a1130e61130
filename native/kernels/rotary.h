// Rotary positions (Su et al. 2021, halves as in GPT-NeoX), optionally with the decay of xPos (Sun et al. 2022).
//
//   θ[t, i] = t · f_i                          i = 0 … d/2 − 1, the same for both halves of the first d dimensions
//   s[t, i] = ζ_i ^ (t / base),  ζ_i = (2i + 0.4 d) / (1.4 d)
//   q ← (q cos θ + rotate_half(q) sin θ) · c · s,   k ← (k cos θ + rotate_half(k) sin θ) · c / s
//
// A score depends on s only through ζ^((i − j)/base). Exponents count from position 0 regardless of the length, so a
// cached key does not depend on how long a response becomes. Powers are computed in float64. They stay above 2^−87 for
// the first 48 · base positions, which leaves room in float32 for the gradients they multiply; longer sequences are an
// error.
#pragma once
#include "base/tensor.h"
#include "kernels/kernels.h"

#include <optional>
#include <vector>

namespace palm {

struct RopeDescription {
  std::vector<double> inverse_frequency;  // f [d/2]; d may be less than the head width, the other dimensions stay
  double factor;                          // c, the attention factor of YaRN and LongRoPE; otherwise 1
  bool wide;                              // angles in float64 (PaLM); otherwise rounded to float32, as in transformers
  std::optional<double> xpos_scale_base;  // nothing: no decay
  std::optional<int64_t> reach;           // tokens of the longest sequence with these frequencies; nothing: any

  int64_t width() const { return 2 * static_cast<int64_t>(inverse_frequency.size()); }  // d
};

struct Rotary {
  Tensor cos, sin;  // [..., T, 1, d] float64
  Tensor scale;     // like cos; undefined without xPos

  Rotary to(at::ScalarType dtype) const;
};

Rotary rotary_table(const Tensor& positions,  // [T] or [B, T], any integer type
                    const RopeDescription& rope);

// The max length of a sequence under xPos with this base; and a check that throws if `length` exceeds it.
int64_t max_sequence_length(double scale_base);
void expect_within_reach(int64_t length, const char* argument, double scale_base);

// Rotates the first d dimensions of every head. Tables are float32 or float64: bfloat16 would not distinguish positions
// beyond 256.
Tensor rotate_query(const Tensor& query,  // [B, T, H, K]
                    const Rotary& rotary);
Tensor rotate_key(const Tensor& key,  // [B, T, Kv, K]
                  const Rotary& rotary);

// The same rotation as four float32 tables [T, d/2] for the fused kernel, multiplied by xPos and by the scale of the
// scores.
struct RotaryTables {
  Tensor query_cos, query_sin, key_cos, key_sin;
};
RotaryTables fold_scales(const Rotary& rotary, double query_scale);

// The heads at the start of every row that turn: of queries, then of keys, each `width` elements wide.
struct TurningHeads {
  int64_t queries, keys, width;
};

// Rotates the first d dimensions of those heads in place; `inverse` applies the transpose, for their gradients.
void rotate_rows(const Kernels& kernels, const Tensor& rows,  // [B·T, queries · width + keys · width + …]
                 const RotaryTables& tables, const TurningHeads& heads, bool inverse);

}  // namespace palm
