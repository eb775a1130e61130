// Generalised advantage estimation (Schulman et al. 2016), over the response tokens of each row.
//
//   δ[t] = reward[t] + γ value[t+1] − value[t],   advantage[t] = δ[t] + γ λ advantage[t+1]
//
// value[t] is the critic's estimate before token t was chosen; after the last response token the value is 0. The
// advantage is 0 outside the mask. A gap in a response is left out: the token before it is followed by the token after it.
#pragma once
#include "base/tensor.h"

namespace palm {

Tensor gae(const Tensor& reward,         // [B, T]
           const Tensor& value,          // [B, T]
           const Tensor& response_mask,  // [B, T] bool
           double gamma, double lambda);

// The same with a lambda [B] for each row.
Tensor gae(const Tensor& reward, const Tensor& value, const Tensor& response_mask, double gamma, const Tensor& lambda);

// Lambda [B] by the length n of a response: 1 − 1 / (alpha · n), at least 0 (VAPO, Yue et al. 2025), so that the reward at
// the end reaches the first tokens of long responses.
Tensor length_adaptive_lambda(const Tensor& response_mask, double alpha, at::ScalarType dtype);

}  // namespace palm
