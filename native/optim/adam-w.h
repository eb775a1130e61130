// AdamW (Loshchilov & Hutter 2019), as one fused pass over every parameter.
//
//   p ← p − lr · weight_decay · p
//   m ← β1 m + (1 − β1) g,   v ← β2 v + (1 − β2) g²
//   p ← p − lr · m̂ / (√v̂ + eps),   m̂ = m / (1 − β1ᵗ),  v̂ = v / (1 − β2ᵗ)
#pragma once
#include "optim/optimizer.h"

namespace palm {

struct AdamWOptions {
  double beta1, beta2, eps, weight_decay;
};

class AdamW : public Optimizer {
 public:
  AdamW(ParameterList parameters, const AdamWOptions& options);

 private:
  void update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) override;
  void reference_update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr);
  AdamWOptions options_;
};

}  // namespace palm
