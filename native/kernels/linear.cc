#include "kernels/linear.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

// From MKL, which x86 builds of libtorch contain: a product of bfloat16 matrices with a float32 result, where at::mm
// rounds. Null without MKL.
extern "C" __attribute__((weak)) void cblas_gemm_bf16bf16f32(int layout, int transpose_a, int transpose_b, int m, int n,
                                                             int k, float alpha, const void* a, int a_stride,
                                                             const void* b, int b_stride, float beta, float* c,
                                                             int c_stride);

namespace palm {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

static bool is_rounded(const Tensor& tensor) { return tensor.scalar_type() == at::kBFloat16; }

// Whether libtorch's own backward would round the gradient of `weight`.
static bool learns_rounded(const Tensor& weight) {
  return is_rounded(weight) && weight.requires_grad() && at::GradMode::is_enabled();
}

static Tensor with_contiguous_rows(const Tensor& matrix) {
  return matrix.stride(1) == 1 && matrix.stride(0) >= matrix.size(1) ? matrix : matrix.contiguous();
}

// sum = beta · sum + leftᵀ · right, for bfloat16 operands.
static void mkl_product(const Tensor& sum, const Tensor& left, const Tensor& right, float beta) {
  constexpr int kRowMajor = 101, kAsItIs = 111, kTransposed = 112;
  const Tensor a = with_contiguous_rows(left), b = with_contiguous_rows(right);
  const auto size = [](int64_t n) { return static_cast<int>(n); };
  cblas_gemm_bf16bf16f32(kRowMajor, kTransposed, kAsItIs, size(a.size(1)), size(b.size(1)), size(a.size(0)), 1,
                         a.const_data_ptr(), size(a.stride(0)), b.const_data_ptr(), size(b.stride(0)), beta,
                         sum.mutable_data_ptr<float>(), size(sum.stride(0)));
}

static bool mkl_multiplies(const Tensor& left, const Tensor& right) {
  return left.is_cpu() && cblas_gemm_bf16bf16f32 && left.numel() > 0 && right.numel() > 0;
}

Tensor weight_gradient(const Tensor& left, const Tensor& right) {
  if (!is_rounded(left)) return at::mm(left.t(), right);
  if (left.is_cuda()) return at::mm(left.t(), right, at::kFloat);
  if (!mkl_multiplies(left, right)) return at::mm(left.to(at::kFloat).t(), right.to(at::kFloat));
  const Tensor product = at::empty({left.size(1), right.size(1)}, left.options().dtype(at::kFloat));
  mkl_product(product, left, right, /*beta=*/0);
  return product;
}

void write_weight_gradient(const Tensor& part, const Tensor& left, const Tensor& right) {
  if (mkl_multiplies(left, right) && is_rounded(left))
    mkl_product(part, left, right, /*beta=*/0);
  else if (is_rounded(left))
    part.copy_(weight_gradient(left, right));
  else
    at::mm_out(const_cast<Tensor&>(part), left.t(), right);
}

void add_weight_gradient(const Tensor& sum, const Tensor& left, const Tensor& right) {
  if (!is_rounded(left))
    sum.addmm_(left.t(), right);
  else if (mkl_multiplies(left, right))
    mkl_product(sum, left, right, /*beta=*/1);
  else
    sum.add_(weight_gradient(left, right));
}

// x · weight or x · weightᵀ.
struct ProductNode : torch::autograd::Function<ProductNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, bool transposed) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["transposed"] = transposed;
    return transposed ? at::linear(x, weight) : at::matmul(x, weight);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const bool transposed = ctx->saved_data["transposed"].toBool();
    const Tensor &weight = saved[1], &dy = grads[0];
    variable_list out(3);
    if (ctx->needs_input_grad(0)) out[0] = at::matmul(dy, transposed ? weight : weight.t());
    if (ctx->needs_input_grad(1)) {
      const Tensor x = saved[0].reshape({-1, saved[0].size(-1)}), down = dy.reshape({-1, dy.size(-1)});
      out[1] = transposed ? weight_gradient(down, x) : weight_gradient(x, down);
    }
    return out;
  }
};

Tensor trained_linear(const Tensor& x, const Tensor& weight) {
  return learns_rounded(weight) ? ProductNode::apply(x, weight, true) : at::linear(x, weight);
}

Tensor trained_product(const Tensor& x, const Tensor& weight) {
  return learns_rounded(weight) ? ProductNode::apply(x, weight, false) : at::matmul(x, weight);
}

// The product with a part of a rounded weight: a view would round the gradient on its way to the whole.
struct PartNode : torch::autograd::Function<PartNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, int64_t axis, int64_t first,
                        int64_t count) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["axis"] = axis;
    ctx->saved_data["first"] = first;
    ctx->saved_data["count"] = count;
    return at::linear(x, weight.narrow(axis, first, count));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const auto part = [&](const Tensor& whole) {
      return whole.narrow(ctx->saved_data["axis"].toInt(), ctx->saved_data["first"].toInt(),
                          ctx->saved_data["count"].toInt());
    };
    const Tensor &weight = saved[1], &dy = grads[0];
    variable_list out(5);
    if (ctx->needs_input_grad(0)) out[0] = at::matmul(dy, part(weight));
    if (ctx->needs_input_grad(1)) {
      out[1] = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
      part(out[1]).copy_(weight_gradient(dy.reshape({-1, dy.size(-1)}), saved[0].reshape({-1, saved[0].size(-1)})));
    }
    return out;
  }
};

static Tensor trained_part(const Tensor& x, const Tensor& weight, int64_t axis, int64_t first, int64_t count) {
  if (first == 0 && count == weight.size(axis)) return trained_linear(x, weight);
  return learns_rounded(weight) ? PartNode::apply(x, weight, axis, first, count)
                                : at::linear(x, weight.narrow(axis, first, count));
}

Tensor trained_rows(const Tensor& x, const Tensor& weight, int64_t first, int64_t count) {
  return trained_part(x, weight, 0, first, count);
}

Tensor trained_columns(const Tensor& x, const Tensor& weight, int64_t first, int64_t count) {
  return trained_part(x, weight, 1, first, count);
}

struct WidenedNode : torch::autograd::Function<WidenedNode> {
  static Tensor forward(AutogradContext*, const Tensor& parameter) { return parameter.to(at::kFloat); }
  static variable_list backward(AutogradContext*, const variable_list& grads) { return grads; }
};

Tensor widened(const Tensor& parameter) {
  if (learns_rounded(parameter)) return WidenedNode::apply(parameter);
  return is_rounded(parameter) ? parameter.to(at::kFloat) : parameter;
}

Tensor add_bias(const Tensor& y, const Tensor& bias) {
  if (!bias.defined()) return y;
  return learns_rounded(bias) ? (y.to(at::kFloat) + widened(bias)).to(y.scalar_type()) : y + bias;
}

// libtorch's own backward sums the gradients of a token's rows in their dtype.
struct EmbeddingNode : torch::autograd::Function<EmbeddingNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& table, const Tensor& ids) {
    ctx->save_for_backward({ids});
    ctx->saved_data["rows"] = table.size(0);
    return at::embedding(table, ids);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const Tensor ids = ctx->get_saved_variables()[0];
    return {at::embedding_dense_backward(grads[0].to(at::kFloat), ids, ctx->saved_data["rows"].toInt(),
                                         /*padding_idx=*/-1, /*scale_grad_by_freq=*/false),
            Tensor()};
  }
};

Tensor trained_embedding(const Tensor& table, const Tensor& ids) {
  return learns_rounded(table) ? EmbeddingNode::apply(table, ids) : at::embedding(table, ids);
}

}  // namespace palm
