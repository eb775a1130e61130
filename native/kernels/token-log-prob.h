// The language model head applied to given tokens without materialising all logits: rows are processed in pieces,
// forward and backward, each with one matrix product and one fused pass.
#pragma once
#include "base/tensor.h"

#include <optional>

namespace palm {

// logits = cap(scale · (hidden · weightᵀ + bias)) over the first `rows` of weight and bias, with
// cap(z) = softcap · tanh(z / softcap), or z without a softcap.
struct HeadWeights {
  Tensor weight;  // [V or more, D]
  Tensor bias;    // [V or more], or undefined
  int64_t rows;   // V
  double scale = 1;
  std::optional<double> softcap = {};
};

Tensor head_logits(const Tensor& hidden,      // [..., D]
                   const HeadWeights& head);  // → [..., V]

// cap(scale · z) for z = hidden · weightᵀ + bias.
Tensor finished_logits(const Tensor& z, const HeadWeights& head);

// Log-probability of given tokens, and entropy of the distribution they are taken from:
//
//   log_prob = z[target] − logsumexp(z),   entropy = −Σ p log p,   z = logits / temperature
struct TokenLogProb {
  Tensor log_prob;  // [M] float32 (float64 for float64 models)
  Tensor entropy;   // [M]
  Tensor right;     // [M] bool, whether no token has a higher logit; undefined unless asked for
};

TokenLogProb token_log_prob(const Tensor& hidden,  // [M, D]
                            const HeadWeights& head,
                            const Tensor& target,  // [M] int64
                            double temperature, bool with_right = false);

// The same from logits [M, V] that exist already.
TokenLogProb token_log_prob(const Tensor& logits, const Tensor& target);

// −Σ log_prob over non-negative targets. The forward pass also computes the gradient, so that each piece of logits is
// computed only once; the backward pass just scales it.
Tensor linear_cross_entropy(const Tensor& hidden,  // [M, D]
                            const HeadWeights& head,
                            const Tensor& target);  // [M] int64; → scalar

Tensor entropy(const Tensor& logits);  // [..., V] → [...]

}  // namespace palm
