// Generalised advantage estimation (Schulman et al. 2016), over the response tokens of each row.
//
//   δ[t] = reward[t] + γ value[t+1] − value[t],   advantage[t] = δ[t] + γ λ advantage[t+1]
//
// value[t] is the critic's estimate before token t was chosen; after the last response token the value is 0. The
// advantage is 0 outside the mask.
#pragma once
#include "base/tensor.h"

namespace palm {

Tensor gae(const Tensor& reward,         // [B, T]
           const Tensor& value,          // [B, T]
           const Tensor& response_mask,  // [B, T] bool
           double gamma, double lambda);

}  // namespace palm
