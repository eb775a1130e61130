#include "model/head.h"

#include "kernels/linear.h"

namespace palm {

Tensor Head::narrowed(const Tensor& hidden) const {
  return narrowing_.defined() ? trained_linear(hidden, narrowing_) : hidden;
}

Tensor Head::logits(const Tensor& hidden) const { return head_logits(narrowed(hidden), weights_); }

TokenLogProb Head::log_prob(const Tensor& hidden, const Tensor& target, double temperature, bool with_right) const {
  return token_log_prob(narrowed(hidden), weights_, target, temperature, with_right);
}

Tensor Head::cross_entropy(const Tensor& hidden, const Tensor& target) const {
  return linear_cross_entropy(narrowed(hidden), weights_, target);
}

PackedMatrix Head::packed(PanelType type) const {
  PackedMatrix packed({weights_.weight.detach().narrow(0, 0, weights_.rows)}, type);
  if (weights_.bias.defined()) packed.add_bias({weights_.bias.detach().narrow(0, 0, weights_.rows)});
  return packed;
}

Tensor Head::finished(const Tensor& products) const { return finished_logits(products, weights_); }

}  // namespace palm
