// Products with trained matrices, and the precision of what those learn: in bfloat16 the gradient of a weight is summed
// over tokens in float32 and never rounded, so that it depends neither on the number of threads nor on how a step is
// cut into micro-batches.
#pragma once
#include "base/tensor.h"

namespace palm {

// x · weightᵀ of x [..., D] and weight [N, D].
Tensor trained_linear(const Tensor& x, const Tensor& weight);
// x · weight of x [..., D] and weight [D, N].
Tensor trained_product(const Tensor& x, const Tensor& weight);

// A parameter as it stands in float32 formulas; its gradient stays in float32. float32 and float64 are left as they
// are.
Tensor widened(const Tensor& parameter);

// leftᵀ · right of left [M, N] and right [M, D], rows contiguous: [N, D] in float32 (float64 of such).
Tensor weight_gradient(const Tensor& left, const Tensor& right);
// sum += leftᵀ · right
void add_weight_gradient(const Tensor& sum, const Tensor& left, const Tensor& right);

// Rows `ids` [...] of table [V, D]: [..., D].
Tensor trained_embedding(const Tensor& table, const Tensor& ids);

}  // namespace palm
