// From hidden states to the vocabulary: the only place where logits are computed.
//
//   logits = hidden · weightᵀ
#pragma once
#include "base/tensor.h"
#include "kernels/packed-matrix.h"
#include "kernels/token-log-prob.h"

namespace palm {

class Head {
 public:
  explicit Head(Tensor weight) : weight_(std::move(weight)) {}  // [V, D]; if tied, the token embedding

  Tensor logits(const Tensor& hidden) const;  // [..., D] → [..., V]

  // The same in pieces, never materialising all logits (kernels/token-log-prob.h): hidden [M, D], target [M] int64.
  TokenLogProb log_prob(const Tensor& hidden, const Tensor& target, double temperature, bool with_right = false) const;
  Tensor cross_entropy(const Tensor& hidden, const Tensor& target) const;  // sum over non-negative targets

  // The weight packed for the decode kernels.
  PackedMatrix packed(PanelType type) const;

 private:
  Tensor weight_;
};

}  // namespace palm
