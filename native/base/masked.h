// Reductions over the true entries of a mask, shared by losses, pooling and whitening.
#pragma once
#include "base/tensor.h"

#include <optional>

namespace palm {

// A denominator as it divides: 0, which says that a whole step has nothing to learn from, counts as 1, so that its loss
// is 0. Throws for one that is negative or not finite.
double divisor(double denominator);

// Σ values·mask / denominator, a scalar. `denominator` defaults to the number of true entries (at least 1), so that
// pieces of a step, each given the count of the whole step, add up to its mean.
Tensor masked_mean(const Tensor& values, const Tensor& mask, std::optional<double> denominator);

// values where the mask is true, 0 elsewhere, whatever stands there.
Tensor within(const Tensor& values, const Tensor& mask);

// Mean along dimension 1 of values [B, T] or [B, T, D]; a row without true entries gives 0.
Tensor masked_mean_rows(const Tensor& values,
                        const Tensor& mask);  // [B, T] bool

// (values − mean) / sqrt(max(var, 1e-8)) over the true entries with biased variance; 0 elsewhere, and everywhere if the
// true entries are all equal, whatever their mean is rounded to. An undefined mask means all. (PaLM-rlhf-pytorch
// `masked_normalize`, whose floor of 1e-5 would shrink advantages of small rewards.)
Tensor whiten(const Tensor& values, const Tensor& mask);

// Population variance of the true entries, a scalar.
Tensor masked_variance(const Tensor& values, const Tensor& mask);

}  // namespace palm
