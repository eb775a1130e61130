// Turns hidden states into the logits that tokens are sampled from. Generation without a readout uses the model's head.
#pragma once
#include "base/error.h"
#include "base/tensor.h"

namespace palm {

class Readout {
 public:
  virtual ~Readout() = default;
  virtual Tensor logits(const Tensor& hidden) const = 0;  // [..., D] → [..., V]
};

// What is thrown where weights of 8 bits are asked for, but no kernels read them.
inline Error int8_unsupported(bool with_readout) {
  return Error(ErrorKind::argument, "weights", with_readout ? "int8 with a readout" : "int8 for an unsupported model",
               with_readout ? "no weights option" : "a model on the CPU",
               "int8 requires fast decoding on the CPU, in evaluation mode: inspect the model to see which of its "
               "features has none.");
}

}  // namespace palm
