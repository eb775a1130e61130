// ADOPT (Taniguchi et al. 2024) with atan2 in place of the division (Everett et al. 2024), as PaLM-rlhf-pytorch trains
// with.
//
//   first step: v = g², nothing moves
//   later:      m ← β1 m + (1 − β1) atan2(g, √v),   p ← p − lr · 1.27 · m,   v ← β2 v + (1 − β2) g²
//
// Weight decay comes before both: p ← p · (1 − weight_decay · lr / initial lr).
#pragma once
#include "optim/optimizer.h"

namespace palm {

struct Atan2Options {
  double lr;  // the initial one, which weight_decay is measured at
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
