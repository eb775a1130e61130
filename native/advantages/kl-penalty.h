// The per-token penalty for diverging from the reference policy (Ziegler et al. 2019, eq. 2).
//
//   log_ratio[t] = log_prob[t] − reference_log_prob[t]      its expectation under the policy is KL(policy ‖ reference)
//   reward[t]    = −weight · log_ratio[t] + score at the last response token
#pragma once
#include "base/tensor.h"

namespace palm {

Tensor kl_shaped_reward(const Tensor& log_ratio,      // [B, T], 0 outside the response
                        const Tensor& score,          // [B]
                        const Tensor& response_mask,  // [B, T] bool
                        double weight);               // → [B, T]

}  // namespace palm
