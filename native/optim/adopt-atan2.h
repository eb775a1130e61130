// ADOPT (Taniguchi et al. 2024) with atan2 instead of the division (Everett et al. 2024), the optimizer of
// PaLM-rlhf-pytorch.
//
//   first step: v = g², parameters unchanged
//   later:      m ← β1 m + (1 − β1) atan2(g, √v),   p ← p − lr · 1.27 · m,   v ← β2 v + (1 − β2) g²
//
// Weight decay is applied first: p ← p · (1 − weight_decay · lr / initial lr).
#pragma once
#include "optim/optimizer.h"

namespace palm {

struct Atan2Options {
  double lr;  // the initial learning rate, to which weight_decay refers
  double beta1, beta2, weight_decay;
};
constexpr double kAtan2Scale = 1.27;

class AdoptAtan2 : public Optimizer {
 public:
  AdoptAtan2(ParameterList parameters, const Atan2Options& options);

 private:
  void update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) override;
  Atan2Options options_;
};

}  // namespace palm
