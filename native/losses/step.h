// Labels of the steps of an answer (Lightman et al. 2023): binary cross entropy at the last token of every labelled step.
//
//   loss = Σ over labelled tokens of −[label · log σ(logit) + (1 − label) · log σ(−logit)] / denominator
//
// The denominator defaults to the number of labelled tokens, so that pieces given the count of the whole step add up to
// its mean.
#pragma once
#include "base/tensor.h"

#include <optional>

#include "losses/loss.h"

namespace palm {

Loss step_loss(const Tensor& logit,  // [B, T]
               const Tensor& label,  // [B, T] int64: 1 for a right step, 0 for a wrong one, negative: no label here
               std::optional<double> denominator);
// metrics, averaged like the loss: accuracy (share of labels on whose side of 0 the logit is; 0 counts half), probability
// (mean σ(logit))

}  // namespace palm
