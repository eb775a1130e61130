#include "kernels/rotary.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "kernels/dispatch.h"

namespace palm {

Rotary rotary_table(const Tensor& positions, const RopeDescription& rope) {
  const auto precise = at::TensorOptions(rope.wide ? at::kDouble : at::kFloat).device(positions.device());
  const Tensor frequency = at::tensor(rope.inverse_frequency, precise);
  const Tensor time = positions.to(precise.dtype().toScalarType()).unsqueeze(-1);
  const auto both_halves = [](const Tensor& half) { return at::cat({half, half}, -1).unsqueeze(-2).to(at::kDouble); };
  const Tensor angle = time * frequency;
  Rotary rotary{both_halves(angle.cos()), both_halves(angle.sin()), {}};
  if (rope.factor != 1) {
    rotary.cos = rotary.cos * rope.factor;
    rotary.sin = rotary.sin * rope.factor;
  }
  if (rope.xpos_scale_base) {
    const Tensor even = at::arange(0, rope.width(), 2, precise.dtype(at::kDouble));
    const Tensor zeta = (even + 0.4 * rope.width()) / (1.4 * rope.width());
    rotary.scale = both_halves(at::pow(zeta, time.to(at::kDouble) / *rope.xpos_scale_base));
  }
  return rotary;
}

Rotary Rotary::to(at::ScalarType dtype) const {
  return {cos.to(dtype), sin.to(dtype), scale.defined() ? scale.to(dtype) : scale};
}

int64_t max_sequence_length(double scale_base) {
  constexpr double kReach = 48, kMaxLength = 1e15;
  return static_cast<int64_t>(std::min(kReach * scale_base, kMaxLength));
}

void expect_within_reach(int64_t length, const char* argument, double scale_base) {
  const int64_t max_length = max_sequence_length(scale_base);
  if (length <= max_length) return;
  throw Error(ErrorKind::argument, argument, std::to_string(length) + " positions",
              "at most " + std::to_string(max_length) + " (48 times rotaryXposScaleBase)",
              "Shorten the prompt or the response, or train a model with a larger rotaryXposScaleBase.");
}

static Tensor rotated(const Tensor& x, const Rotary& rotary) {
  const auto halves = x.chunk(2, -1);
  return x * rotary.cos + at::cat({-halves[1], halves[0]}, -1) * rotary.sin;
}

// Applies `rotate` to the dimensions that turn.
template <class Rotate>
static Tensor front_rotated(const Tensor& x, const Rotary& rotary, const Rotate& rotate) {
  const int64_t width = rotary.cos.size(-1), rest = x.size(-1) - width;
  if (rest == 0) return rotate(x).to(x.scalar_type());
  return at::cat({rotate(x.narrow(-1, 0, width)).to(x.scalar_type()), x.narrow(-1, width, rest)}, -1);
}

Tensor rotate_query(const Tensor& query, const Rotary& rotary) {
  return front_rotated(query, rotary, [&](const Tensor& x) {
    const Tensor turned = rotated(x, rotary);
    return rotary.scale.defined() ? turned * rotary.scale : turned;
  });
}

Tensor rotate_key(const Tensor& key, const Rotary& rotary) {
  return front_rotated(key, rotary, [&](const Tensor& x) {
    const Tensor turned = rotated(x, rotary);
    return rotary.scale.defined() ? turned / rotary.scale : turned;
  });
}

RotaryTables fold_scales(const Rotary& rotary, double query_scale) {
  const int64_t half = rotary.cos.size(-1) / 2;
  const auto front = [&](const Tensor& x) { return x.squeeze(-2).narrow(-1, 0, half); };
  const auto table = [](const Tensor& x) { return x.to(at::kFloat).contiguous(); };
  const Tensor cos = front(rotary.cos), sin = front(rotary.sin);
  if (!rotary.scale.defined()) return {table(cos * query_scale), table(sin * query_scale), table(cos), table(sin)};
  const Tensor scale = front(rotary.scale), up = scale * query_scale;
  return {table(cos * up), table(sin * up), table(cos / scale), table(sin / scale)};
}

void rotate_rows(const Kernels& kernels, const Tensor& rows, const RotaryTables& tables, const TurningHeads& heads,
                 bool inverse) {
  const RotateArgs args{.x = rows.mutable_data_ptr(),
                        .stride = rows.stride(0),
                        .query_cos = tables.query_cos.const_data_ptr<float>(),
                        .query_sin = tables.query_sin.const_data_ptr<float>(),
                        .key_cos = tables.key_cos.const_data_ptr<float>(),
                        .key_sin = tables.key_sin.const_data_ptr<float>(),
                        .time = tables.key_cos.size(0),
                        .heads = heads.queries,
                        .kv_heads = heads.keys,
                        .head = heads.width,
                        .width = tables.key_cos.size(1) * 2,
                        .inverse = inverse};
  launch(kernels, kernels.rotate, args, rows.size(0), grain_of((heads.queries + heads.keys) * heads.width));
}

}  // namespace palm
