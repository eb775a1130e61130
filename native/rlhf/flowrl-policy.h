// A policy with a head for log Z(x), the log-partition of its prompt (losses/flowrl.h).
#pragma once
#include "rlhf/perceptron.h"
#include "rlhf/policy.h"

namespace palm {

struct FlowrlEvaluation {
  Tensor log_prob;       // [B, T], of the given tokens; entry 0 is 0
  Tensor entropy;        // [B, T], of the distribution each token was sampled from; entry 0 is 0
  Tensor log_partition;  // [B], from the mean hidden state of the tokens before the response
};

class FlowrlPolicy {
 public:
  explicit FlowrlPolicy(std::shared_ptr<Policy> policy);

  void initialise(int64_t seed);                                            // from random numbers, such that log Z is 0
  const ParameterList& parameters() const { return buffer_.parameters(); }  // without those of the policy

  // Reads tokens [B, T], of which response_mask [B, T] bool says where the response is.
  FlowrlEvaluation evaluate(const Tensor& sequence, const Tensor& response_mask, double temperature,
                            Gradients gradients);

  const Tensor& storage() const { return buffer_.storage(); }

 private:
  std::shared_ptr<Policy> policy_;
  ParameterBuffer buffer_;
  Perceptron partition_;
};

}  // namespace palm
