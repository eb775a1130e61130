#include "model/segments.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cummax.h>
#include <ATen/ops/ones_like.h>

namespace palm {

Tensor starts_sequence(const Tensor& segments) {
  const Tensor first = at::ones_like(segments.slice(1, 0, 1), at::kBool);
  return at::cat({first, segments.slice(1, 1).ne(segments.slice(1, 0, -1))}, 1);
}

Tensor sequence_start(const Tensor& segments) {
  const Tensor time = at::arange(segments.size(1), segments.options());
  return std::get<0>(at::cummax(time * starts_sequence(segments), 1));
}

Tensor within_sequence(const Tensor& visible, const Tensor& segments) {
  const Tensor start = sequence_start(segments);
  return visible & start.unsqueeze(2).eq(start.unsqueeze(1)).unsqueeze(2);
}

static Tensor visible_in_row(const Tensor& tokens, bool causal, int64_t window) {
  if (!causal) return tokens.ge(0).unsqueeze(1).unsqueeze(1);
  const Tensor key = at::arange(tokens.size(1), tokens.options()), query = key.unsqueeze(1);
  const Tensor before = key.unsqueeze(0).le(query);
  const Tensor seen = window == 0 ? before : before & key.unsqueeze(0).gt(query - window);
  return seen.view({1, tokens.size(1), 1, tokens.size(1)});
}

Tensor visible_in_rows(const Tensor& tokens, const Tensor& segments, bool causal, int64_t window) {
  const Tensor visible = visible_in_row(tokens, causal, window);
  return segments.defined() ? within_sequence(visible, segments) : visible;
}

}  // namespace palm
