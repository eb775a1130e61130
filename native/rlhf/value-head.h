// From the hidden states of a critic to the expected return.
#pragma once
#include "base/parameter.h"
#include "model/language-model.h"

namespace palm {

class ValueHead {
 public:
  explicit ValueHead(const ModelShape& shape);

  void initialise();  // to 0: neutral predictions (Huang et al. 2024, detail 11)
  // hidden [B, T, D] → [B, T], expected return before each token was chosen; entry 0 is 0. float32, or float64 for
  // float64 models.
  Tensor operator()(const Tensor& hidden) const;

  const ParameterList& parameters() const { return buffer_.parameters(); }
  const Tensor& storage() const { return buffer_.storage(); }
  void prepare_gradients() { buffer_.prepare_gradients(); }

 private:
  ParameterBuffer buffer_;
  Tensor weight_;  // [1, D]
  Tensor bias_;    // [1]
};

}  // namespace palm
