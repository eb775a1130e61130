// What a loss gives back: a scalar to differentiate, and a small detached vector that crosses to the host in one copy.
#pragma once
#include "base/tensor.h"

namespace palm {

struct Loss {
  Tensor loss;     // scalar, attached
  Tensor metrics;  // [M] float32, detached; the header of each loss names its entries
};

}  // namespace palm
