// Reductions over the true entries of a mask and groups of rows, shared by losses, advantages, pooling and whitening.
#pragma once
#include "base/tensor.h"

#include <optional>

namespace palm {

// Checks a denominator and makes it safe to divide by: 0, for a step without any targets, becomes 1, so that its loss
// is 0. Throws if it is negative or not finite.
double divisor(double denominator);

// Σ values·mask / denominator, a scalar. `denominator` defaults to the number of true entries (at least 1). If every
// micro-batch is given the count of the whole step, their results add up to the step's mean.
Tensor masked_mean(const Tensor& values, const Tensor& mask, std::optional<double> denominator);

// values where the mask is true and 0 elsewhere, even where values are NaN.
Tensor within(const Tensor& values, const Tensor& mask);

// Mean along dimension 1 of values [B, T] or [B, T, D]; a row without true entries gives 0.
Tensor masked_mean_rows(const Tensor& values,
                        const Tensor& mask);  // [B, T] bool

// (values − mean) / sqrt(max(var, 1e-8)) over the true entries with biased variance; 0 elsewhere. If the true entries
// are all equal, the result is exactly 0 even if their mean is rounded. An undefined mask selects everything.
// (PaLM-rlhf-pytorch `masked_normalize`, whose floor of 1e-5 would shrink advantages of small rewards.)
Tensor whiten(const Tensor& values, const Tensor& mask);

// [B / samples_per_prompt, samples_per_prompt] of values [B], whose neighbouring rows form a group. Throws unless it divides.
Tensor by_group(const Tensor& values, int64_t samples_per_prompt);

// Population variance of the true entries, a scalar.
Tensor masked_variance(const Tensor& values, const Tensor& mask);

}  // namespace palm
