// A policy with the heads of implicit language Q-learning (losses/ilql.h): two for the values of actions, one for the
// value of the state, and slow copies of the first two, which no gradient reaches.
#pragma once
#include "losses/ilql.h"
#include "model/readout.h"
#include "rlhf/perceptron.h"
#include "rlhf/policy.h"

namespace palm {

class IlqlPolicy {
 public:
  explicit IlqlPolicy(std::shared_ptr<Policy> policy);

  void initialise(int64_t seed);  // trained heads from random numbers, the targets as their copies
  const ParameterList& parameters() const { return trained_.parameters(); }  // without those of the policy
  const ParameterList& targets() const { return slow_.parameters(); }

  // Reads tokens [B, T] in the states whose last tokens are at `state` [B, R], indices from 0 to T − 1.
  ActionValues evaluate(const Tensor& sequence, const Tensor& state, Gradients gradients);
  // target ← alpha · q + (1 − alpha) · target
  void sync(double alpha);
  // The logits to sample from after hidden states [..., D] (losses/ilql.h).
  Tensor logits(const Tensor& hidden, double beta) const;

  const Policy& policy() const { return *policy_; }
  const Tensor& storage() const { return trained_.storage(); }

 private:
  std::shared_ptr<Policy> policy_;
  ParameterBuffer trained_, slow_;
  Perceptron q1_, q2_, value_, target_q1_, target_q2_;
};

// Samples by these logits, for a `beta`.
class IlqlReadout : public Readout {
 public:
  IlqlReadout(std::shared_ptr<IlqlPolicy> policy, double beta) : policy_(std::move(policy)), beta_(beta) {}
  Tensor logits(const Tensor& hidden) const override { return policy_->logits(hidden, beta_); }

 private:
  std::shared_ptr<IlqlPolicy> policy_;
  double beta_;
};

}  // namespace palm
