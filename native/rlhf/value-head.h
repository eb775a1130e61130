// From the hidden states of a critic to the expected return: one number, or a distribution over the bins of a histogram.
#pragma once
#include <optional>

#include "base/parameter.h"
#include "losses/histogram.h"
#include "model/language-model.h"

namespace palm {

struct Value {
  Tensor expected;               // [B, T], expected return before each token was chosen; entry 0 is 0
  std::optional<Tensor> logits;  // [B, T, bins], with a histogram; entry 0 is 0
};

class ValueHead {
 public:
  ValueHead(const ModelShape& shape, const std::optional<Histogram>& histogram);

  void initialise();  // to 0: neutral predictions (Huang et al. 2024, detail 11)
  // hidden [B, T, D] → float32, or float64 for float64 models.
  Value operator()(const Tensor& hidden) const;

  const ParameterList& parameters() const { return buffer_.parameters(); }
  const Tensor& storage() const { return buffer_.storage(); }
  void prepare_gradients() { buffer_.prepare_gradients(); }

 private:
  std::optional<Histogram> histogram_;
  ParameterBuffer buffer_;
  Tensor weight_;  // [1 or bins, D]
  Tensor bias_;    // [1 or bins]
};

}  // namespace palm
