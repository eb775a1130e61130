#include "losses/value.h"

#include <ATen/ops/maximum.h>

namespace palm {

Tensor clipped_value_error(const Tensor& value, const Tensor& rollout_value, const Tensor& returns, double clip) {
  const Tensor held = rollout_value + (value - rollout_value).clamp(-clip, clip);
  return 0.5 * at::maximum((value - returns).square(), (held - returns).square());
}

}  // namespace palm
