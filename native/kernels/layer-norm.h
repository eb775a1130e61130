// y = (x − mean) / sqrt(var + 1e-5) · (1 + gamma), biased variance over the last axis (Ba et al. 2016).
// gamma is stored around 0 so that weight decay pulls the scale towards 1.
#pragma once
#include "base/tensor.h"

namespace palm {

Tensor layer_norm(const Tensor& x,       // [..., D]
                  const Tensor& gamma);  // [D]

}  // namespace palm
