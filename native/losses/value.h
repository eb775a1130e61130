// Clipped value error (Schulman et al. 2017, as in OpenAI's baselines): the max of the errors of the value and of the
// value clipped to within `clip` of the rollout's, so that one minibatch cannot move the critic far.
//
//   error = ½ max((value − returns)², (rollout_value + clamp(value − rollout_value, ±clip) − returns)²)
#pragma once
#include "base/tensor.h"

namespace palm {

Tensor clipped_value_error(const Tensor& value,          // [B, T]
                           const Tensor& rollout_value,  // [B, T]
                           const Tensor& returns,        // [B, T]
                           double clip);                 // → [B, T]

}  // namespace palm
