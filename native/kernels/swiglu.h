// SwiGLU (Shazeer 2020): silu(gate) · value, where the value is the FIRST half of the last axis and the gate the
// second.
#pragma once
#include "base/tensor.h"

namespace palm {

Tensor swiglu(const Tensor& x);  // [..., 2F] → [..., F]

}  // namespace palm
