// The tensor of this project is libtorch's, with its operators; per-operator headers add the functions a file uses.
#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

namespace palm {

using at::Tensor;

}  // namespace palm
