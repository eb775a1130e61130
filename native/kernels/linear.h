// Products with trained matrices and precise weight gradients: in bfloat16 the gradient of a weight is summed over
// tokens in float32 and never rounded, so it depends neither on the number of threads nor on the size of micro-batches.
#pragma once
#include "base/tensor.h"

namespace palm {

// x [..., D] · weightᵀ, weight [N, D].
Tensor trained_linear(const Tensor& x, const Tensor& weight);
// The same with `count` rows of weight from `first` on: → [..., count].
Tensor trained_rows(const Tensor& x, const Tensor& weight, int64_t first, int64_t count);
// x [..., count] · weightᵀ with `count` columns of weight from `first` on: → [..., N].
Tensor trained_columns(const Tensor& x, const Tensor& weight, int64_t first, int64_t count);
// x [..., D] · weight, weight [D, N].
Tensor trained_product(const Tensor& x, const Tensor& weight);

// A parameter converted to float32 for a formula; its gradient stays in float32. float32 and float64 are left
// unchanged.
Tensor widened(const Tensor& parameter);

// y + bias, rounded once; y as it is if there is no bias.
Tensor add_bias(const Tensor& y, const Tensor& bias);

// leftᵀ · right of left [M, N] and right [M, D], rows contiguous: [N, D] in float32 (float64 for float64 operands).
Tensor weight_gradient(const Tensor& left, const Tensor& right);
// The same product, written into a part of a matrix of that dtype.
void write_weight_gradient(const Tensor& part, const Tensor& left, const Tensor& right);
// sum += leftᵀ · right
void add_weight_gradient(const Tensor& sum, const Tensor& left, const Tensor& right);

// Rows `ids` [...] of table [V, D]: [..., D].
Tensor trained_embedding(const Tensor& table, const Tensor& ids);

}  // namespace palm
