// Log-probability of given tokens, and entropy of the distribution they are taken from:
//
//   log_prob = z[target] − logsumexp(z),   entropy = −Σ p log p,   z = logits / temperature
//
// Works through the rows in pieces and never holds a softmax of all of them when no gradient is asked for.
#pragma once
#include "base/tensor.h"

namespace palm {

struct TokenLogProb {
  Tensor log_prob;  // [M]
  Tensor entropy;   // [M]
};

TokenLogProb token_log_prob(const Tensor& hidden,     // [M, D]
                            const Tensor& embedding,  // [V, D], the tied head
                            const Tensor& target,     // [M] int64
                            double temperature);

Tensor entropy(const Tensor& logits);  // [..., V] → [...]

}  // namespace palm
