// From hidden states to what is said of the vocabulary: the one place where logits are made.
//
//   logits = hidden · weightᵀ
#pragma once
#include "base/tensor.h"
#include "kernels/packed-matrix.h"
#include "kernels/token-log-prob.h"

namespace palm {

class Head {
 public:
  explicit Head(Tensor weight) : weight_(std::move(weight)) {}  // [V, D]; the token embedding where both are tied

  Tensor logits(const Tensor& hidden) const;  // [..., D] → [..., V]

  // The same in pieces, never all logits at once (kernels/token-log-prob.h), of hidden [M, D] and target [M] int64.
  TokenLogProb log_prob(const Tensor& hidden, const Tensor& target, double temperature) const;
  Tensor cross_entropy(const Tensor& hidden, const Tensor& target) const;  // sum over targets that are not negative

  // Its weight as decoding's own kernels read it.
  PackedMatrix packed(PanelType type) const;

 private:
  Tensor weight_;
};

}  // namespace palm
