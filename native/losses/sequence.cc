#include "losses/sequence.h"

#include "base/masked.h"

namespace palm {

Tensor sequence_log_prob(const Tensor& log_prob, const Tensor& response_mask) {
  return within(log_prob, response_mask).sum(1);
}

Tensor sequence_log_ratio(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask) {
  return sequence_log_prob(log_prob, response_mask) - sequence_log_prob(reference_log_prob, response_mask);
}

}  // namespace palm
