// From hidden states to the vocabulary: the only place where logits are computed.
//
//   logits = cap(scale · (hidden · weightᵀ + bias)),  cap(z) = softcap · tanh(z / softcap) or z
#pragma once
#include "base/tensor.h"
#include "kernels/packed-matrix.h"
#include "kernels/token-log-prob.h"

namespace palm {

class Head {
 public:
  // `narrowing` [E, D] comes first, if defined.
  explicit Head(HeadWeights weights, Tensor narrowing = {})
      : weights_(std::move(weights)), narrowing_(std::move(narrowing)) {}

  Tensor logits(const Tensor& hidden) const;  // [..., D] → [..., V]

  // The same in pieces, never materialising all logits (kernels/token-log-prob.h): hidden [M, D], target [M] int64.
  TokenLogProb log_prob(const Tensor& hidden, const Tensor& target, double temperature, bool with_right = false) const;
  Tensor cross_entropy(const Tensor& hidden, const Tensor& target) const;  // sum over non-negative targets

  // The weight and bias packed for the decode kernels, and what turns their products with hidden states into logits.
  PackedMatrix packed(PanelType type) const;
  Tensor finished(const Tensor& products) const;

 private:
  Tensor narrowed(const Tensor& hidden) const;  // [..., D] → [..., E]

  HeadWeights weights_;
  Tensor narrowing_;
};

}  // namespace palm
