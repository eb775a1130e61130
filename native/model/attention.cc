#include "model/attention.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/softmax.h>

#include <limits>

namespace palm {

// The Python library hides with the lowest finite number, not −inf: a row that sees nothing becomes uniform, not NaN.
static double lowest(at::ScalarType dtype) {
  return dtype == at::kDouble
             ? std::numeric_limits<double>::lowest()
             : (dtype == at::kBFloat16 ? -3.3895313892515355e38 : std::numeric_limits<float>::lowest());
}

Tensor attention(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& visible, double scale,
                 const Dropout& dropout) {
  const int64_t batch = query.size(0), time = query.size(1), heads = query.size(2), head = query.size(3);
  const Tensor folded = (query * scale).reshape({batch, time * heads, head});
  Tensor score = at::bmm(folded, key.transpose(1, 2)).view({batch, time, heads, key.size(1)});
  if (visible.defined()) score = score.masked_fill(visible.logical_not(), lowest(score.scalar_type()));
  const Tensor weight = dropout.apply(at::softmax(score, -1), dropout.attention);
  return at::bmm(weight.view({batch, time * heads, -1}), value).view({batch, time, heads * head});
}

}  // namespace palm
