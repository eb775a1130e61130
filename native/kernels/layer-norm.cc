#include "kernels/layer-norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/dispatch.h"
#include "kernels/linear.h"

namespace palm {

LayerNormed layer_norm_forward(const Kernels& kernels, const Tensor& x, const Tensor& gamma) {
  const auto statistic = x.options().dtype(at::kFloat);
  const LayerNormed out{at::empty_like(x), at::empty({x.size(0)}, statistic), at::empty({x.size(0)}, statistic)};
  const LayerNormArgs args{.x = x.const_data_ptr(),
                           .gamma = gamma.const_data_ptr(),
                           .y = out.y.mutable_data_ptr(),
                           .mean = out.mean.mutable_data_ptr<float>(),
                           .rstd = out.rstd.mutable_data_ptr<float>(),
                           .width = x.size(1)};
  launch(kernels, kernels.layer_norm, args, x.size(0), grain_of(x.size(1)));
  return out;
}

LayerNormGrad layer_norm_backward(const Kernels& kernels, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                  const Tensor& rstd, const Tensor& dy, const Tensor& residual) {
  const int64_t rows = x.size(0), width = x.size(1);
  const Tensor dx = at::empty_like(x);
  const Tensor sums = at::zeros({partial_sums(kernels), width}, x.options().dtype(at::kFloat));
  const LayerNormGradArgs args{.x = x.const_data_ptr(),
                               .gamma = gamma.const_data_ptr(),
                               .mean = mean.const_data_ptr<float>(),
                               .rstd = rstd.const_data_ptr<float>(),
                               .dy = dy.const_data_ptr(),
                               .residual = residual.defined() ? residual.const_data_ptr() : nullptr,
                               .dx = dx.mutable_data_ptr(),
                               .dgamma = sums.mutable_data_ptr<float>(),
                               .width = width};
  in_pieces(kernels, rows, grain_of(width), [&](int64_t begin, int64_t end, int64_t piece) {
    LayerNormGradArgs own = args;
    own.dgamma += piece * width;
    kernels.layer_norm_grad(own, begin, end);
  });
  return {dx, sums.sum(0)};
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LayerNormNode : torch::autograd::Function<LayerNormNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& gamma, const Kernels* kernels) {
    const Tensor rows = x.reshape({-1, x.size(-1)}).contiguous();
    const LayerNormed out = layer_norm_forward(*kernels, rows, gamma);
    ctx->save_for_backward({rows, gamma, out.mean, out.rstd});
    ctx->saved_data["kernels"] = reinterpret_cast<int64_t>(kernels);
    return out.y.view(x.sizes());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Kernels& kernels = *reinterpret_cast<const Kernels*>(ctx->saved_data["kernels"].toInt());
    const Tensor dy = grads[0].reshape(saved[0].sizes()).contiguous();
    const LayerNormGrad grad =
        layer_norm_backward(kernels, saved[0], saved[1], saved[2], saved[3], dy, /*residual=*/{});
    return {grad.dx.view(grads[0].sizes()), grad.dgamma, Tensor()};
  }
};

Tensor layer_norm(const Tensor& x, const Tensor& gamma) {
  // libtorch's backward of a bfloat16 norm sums dgamma in bfloat16.
  const Kernels* const kernels = x.scalar_type() == at::kBFloat16 ? kernels_for(x) : nullptr;
  if (kernels) return LayerNormNode::apply(x, gamma, kernels);
  const Tensor scale = widened(gamma) + 1;
  return at::layer_norm(x.to(scale.scalar_type()), gamma.sizes(), scale, /*bias=*/{}, /*eps=*/1e-5).to(x.scalar_type());
}

}  // namespace palm
