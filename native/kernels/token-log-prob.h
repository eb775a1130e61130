// What a language model's head says of given tokens, without ever holding the logits of all of them: rows are worked
// through in pieces, forward and backward, each a matrix product and one fused pass.
#pragma once
#include "base/tensor.h"

namespace palm {

// Log-probability of given tokens, and entropy of the distribution they are taken from:
//
//   log_prob = z[target] − logsumexp(z),   entropy = −Σ p log p,   z = hidden · embeddingᵀ / temperature
struct TokenLogProb {
  Tensor log_prob;  // [M] float32 (float64 of such models)
  Tensor entropy;   // [M]
};

TokenLogProb token_log_prob(const Tensor& hidden,     // [M, D]
                            const Tensor& embedding,  // [V, D], the tied head
                            const Tensor& target,     // [M] int64
                            double temperature);

// −Σ log_prob over targets that are not negative. The gradient is known with the loss, so each piece of logits is
// computed once; backward only scales what forward has left.
Tensor linear_cross_entropy(const Tensor& hidden,     // [M, D]
                            const Tensor& embedding,  // [V, D]
                            const Tensor& target);    // [M] int64; → scalar

Tensor entropy(const Tensor& logits);  // [..., V] → [...]

}  // namespace palm
