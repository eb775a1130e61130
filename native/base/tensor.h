// This project uses libtorch's tensor and operators; each file includes the per-operator headers it needs.
#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

namespace palm {

using at::Tensor;

}  // namespace palm
