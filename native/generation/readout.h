// Turns hidden states into the logits that tokens are sampled from. Generation without a readout uses the model's head.
#pragma once
#include "base/tensor.h"

namespace palm {

class Readout {
 public:
  virtual ~Readout() = default;
  virtual Tensor logits(const Tensor& hidden) const = 0;  // [..., D] → [..., V]
};

}  // namespace palm
