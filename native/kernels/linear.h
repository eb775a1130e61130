// Products with trained matrices and precise weight gradients: in bfloat16 the gradient of a weight is summed over
// tokens in float32 and never rounded, so it depends neither on the number of threads nor on the size of micro-batches.
#pragma once
#include "base/tensor.h"

namespace palm {

// x [..., D] · weightᵀ, weight [N, D].
Tensor trained_linear(const Tensor& x, const Tensor& weight);
// x [..., D] · weight, weight [D, N].
Tensor trained_product(const Tensor& x, const Tensor& weight);

// A parameter converted to float32 for a formula; its gradient stays in float32. float32 and float64 are left
// unchanged.
Tensor widened(const Tensor& parameter);

// leftᵀ · right of left [M, N] and right [M, D], rows contiguous: [N, D] in float32 (float64 for float64 operands).
Tensor weight_gradient(const Tensor& left, const Tensor& right);
// sum += leftᵀ · right
void add_weight_gradient(const Tensor& sum, const Tensor& left, const Tensor& right);

// Rows `ids` [...] of table [V, D]: [..., D].
Tensor trained_embedding(const Tensor& table, const Tensor& ids);

}  // namespace palm
