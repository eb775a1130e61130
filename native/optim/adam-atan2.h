// Adam with atan2 instead of the division (Everett et al. 2024): no eps, invariant to the scale of the gradients.
//
//   m ← β1 m + (1 − β1) g,   v ← β2 v + (1 − β2) g²
//   p ← p · (1 − weight_decay · lr) − lr · 1.27 · atan2(m̂, √v̂)
#pragma once
#include "optim/adopt-atan2.h"

namespace palm {

class AdamAtan2 : public Optimizer {
 public:
  AdamAtan2(ParameterList parameters, const Atan2Options& options);

 private:
  void update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) override;
  Atan2Options options_;
};

}  // namespace palm
