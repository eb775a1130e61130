// Filters of next-token logits. Each sets what it removes to −inf and keeps at least the likeliest token.
#pragma once
#include "base/tensor.h"

namespace palm {

// Keeps the k largest logits (Fan et al. 2018).
Tensor top_k(const Tensor& logits,  // [B, V]
             int64_t k);
// Keeps the smallest set of likeliest tokens whose probabilities reach p (nucleus sampling, Holtzman et al. 2020).
Tensor top_p(const Tensor& logits, double p);
// Keeps tokens at least p times as likely as the likeliest one (Nguyen et al. 2024).
Tensor min_p(const Tensor& logits, double p);

}  // namespace palm
