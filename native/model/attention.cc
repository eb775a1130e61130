#include "model/attention.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>

#include <limits>

namespace palm {

// The Python library masks with the lowest finite number, not −inf: a fully masked row becomes uniform, not NaN.
static double lowest(at::ScalarType dtype) {
  return dtype == at::kDouble
             ? std::numeric_limits<double>::lowest()
             : (dtype == at::kBFloat16 ? -3.3895313892515355e38 : std::numeric_limits<float>::lowest());
}

// score [B, Kv, T, G, S] with cap and slopes; those are added in float32, as bfloat16 would round distances. Falcon-RW rounds.
static Tensor scored(const Tensor& score, const Scoring& scoring) {
  Tensor all = scoring.softcap ? at::tanh(score / *scoring.softcap) * *scoring.softcap : score;
  if (!scoring.alibi.defined()) return all;
  const Tensor position = at::arange(score.size(4), scoring.alibi.options());
  const Tensor bias = scoring.alibi.view({1, score.size(1), 1, score.size(3), 1}) * position;
  return all + (scoring.alibi_rounded ? bias.to(at::kBFloat16).to(bias.scalar_type()) * scoring.scale : bias);
}

Tensor attention(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& visible,
                 const Scoring& scoring, const Dropout& dropout) {
  const int64_t batch = query.size(0), time = query.size(1), heads = query.size(2), head = query.size(3);
  const int64_t kv_heads = key.size(1), group = heads / kv_heads, stored = key.size(2);
  const auto by_head = [&](const Tensor& x) { return x.reshape({batch * kv_heads, stored, head}); };
  const Tensor grouped = (query * scoring.scale).reshape({batch, time, kv_heads, group, head}).transpose(1, 2);
  const Tensor folded = grouped.reshape({batch * kv_heads, time * group, head});
  Tensor score = at::bmm(folded, by_head(key).transpose(1, 2)).view({batch, kv_heads, time, group, stored});
  score = scored(score, scoring);
  if (visible.defined()) score = score.masked_fill(visible.unsqueeze(1).logical_not(), lowest(score.scalar_type()));
  const Tensor weight = dropout.apply(at::softmax(score, -1).to(value.scalar_type()), dropout.attention);
  const Tensor out = at::bmm(weight.view({batch * kv_heads, time * group, stored}), by_head(value));
  return out.view({batch, kv_heads, time, group, head}).transpose(1, 2).reshape({batch, time, heads * head});
}

}  // namespace palm
