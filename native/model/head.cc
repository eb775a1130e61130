#include "model/head.h"

#include "kernels/linear.h"

namespace palm {

Tensor Head::logits(const Tensor& hidden) const { return trained_linear(hidden, weight_); }

TokenLogProb Head::log_prob(const Tensor& hidden, const Tensor& target, double temperature, bool with_right) const {
  return token_log_prob(hidden, weight_, target, temperature, with_right);
}

Tensor Head::cross_entropy(const Tensor& hidden, const Tensor& target) const {
  return linear_cross_entropy(hidden, weight_, target);
}

PackedMatrix Head::packed(PanelType type) const { return PackedMatrix({weight_.detach()}, type); }

}  // namespace palm
