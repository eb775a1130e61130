// Weights that correct for responses sampled by other numbers than those that are trained, such as weights of 8 bits.
//
//   ratio = exp(clamp(rollout_log_prob − sampler_log_prob, ±20)) per token; of a response: the product over its tokens
//
//   token_truncate     ratio, at most `max` and at least `min`       (TIS, Yao et al. 2025)
//   token_mask         ratio, 0 outside [min, max]                   (IcePop)
//   sequence_truncate  ratio of the response, at most `max`
//   sequence_mask      ratio of the response, 0 above `max`
//   geometric_mask     ratio, 0 in responses whose geometric mean of ratios is outside [min, max]
#pragma once
#include <optional>

#include "base/tensor.h"

namespace palm {

enum class Correction { token_truncate, token_mask, sequence_truncate, sequence_mask, geometric_mask };

struct CorrectionOptions {
  Correction mode;
  std::optional<double> min;  // none for the sequence modes; 0 by default
  double max;
};

// [B, T], 0 outside the mask.
Tensor off_policy_weight(const Tensor& rollout_log_prob, const Tensor& sampler_log_prob,  // [B, T]
                         const Tensor& response_mask,                                     // [B, T] bool
                         const CorrectionOptions& options);

}  // namespace palm
