// Filters of next-token logits. Each sets the logits of removed tokens to −inf and keeps at least the most likely
// token.
#pragma once
#include "base/tensor.h"

namespace palm {

// Keeps the k largest logits (Fan et al. 2018); of equal ones, here and below, those with the lowest ids.
Tensor top_k(const Tensor& logits,  // [B, V]
             int64_t k);
// Keeps the smallest set of most likely tokens whose total probability reaches p (nucleus sampling, Holtzman et al.
// 2020).
Tensor top_p(const Tensor& logits, double p);
// Keeps tokens at least p times as likely as the most likely one (Nguyen et al. 2024).
Tensor min_p(const Tensor& logits, double p);

}  // namespace palm
