#include "kernels/token-log-prob.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>

#include <vector>

namespace palm {

static Tensor entropy_of(const Tensor& log_softmax) { return -(log_softmax.exp() * log_softmax).sum(-1); }

// log p is −inf where a logit is: p log p is 0 there, not NaN.
Tensor entropy(const Tensor& logits) { return entropy_of(at::log_softmax(logits, -1).clamp_min(-1e30)); }

TokenLogProb token_log_prob(const Tensor& hidden, const Tensor& embedding, const Tensor& target, double temperature) {
  constexpr int64_t kPiece = 4096;
  std::vector<Tensor> log_probs, entropies;
  for (int64_t start = 0; start < hidden.size(0); start += kPiece) {
    const int64_t rows = std::min(kPiece, hidden.size(0) - start);
    Tensor logits = at::linear(hidden.narrow(0, start, rows), embedding);
    if (logits.scalar_type() == at::kBFloat16) logits = logits.to(at::kFloat);
    const Tensor log_softmax = at::log_softmax(logits / temperature, -1);
    log_probs.push_back(log_softmax.gather(1, target.narrow(0, start, rows).unsqueeze(1)).squeeze(1));
    entropies.push_back(entropy_of(log_softmax));
  }
  return {at::cat(log_probs), at::cat(entropies)};
}

}  // namespace palm
