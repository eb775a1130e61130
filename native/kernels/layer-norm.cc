#include "kernels/layer-norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/zeros.h>

#include "kernels/dispatch.h"

namespace palm {

Tensor layer_norm(const Tensor& x, const Tensor& gamma) {
  return at::layer_norm(x, gamma.sizes(), gamma + 1, /*bias=*/{}, /*eps=*/1e-5);
}

LayerNormed layer_norm_forward(const Kernels& kernels, const Tensor& x, const Tensor& gamma) {
  const auto statistic = x.options().dtype(at::kFloat);
  const LayerNormed out{at::empty_like(x), at::empty({x.size(0)}, statistic), at::empty({x.size(0)}, statistic)};
  const LayerNormArgs args{x.const_data_ptr(),
                           gamma.const_data_ptr(),
                           out.y.mutable_data_ptr(),
                           out.mean.mutable_data_ptr<float>(),
                           out.rstd.mutable_data_ptr<float>(),
                           x.size(1)};
  launch(kernels, kernels.layer_norm, args, x.size(0), grain_of(x.size(1)));
  return out;
}

LayerNormGrad layer_norm_backward(const Kernels& kernels, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                  const Tensor& rstd, const Tensor& dy, const Tensor& residual) {
  const int64_t rows = x.size(0), width = x.size(1);
  const Tensor dx = at::empty_like(x);
  const Tensor sums = at::zeros({partial_sums(kernels), width}, x.options().dtype(at::kFloat));
  const LayerNormGradArgs args{x.const_data_ptr(),
                               gamma.const_data_ptr(),
                               mean.const_data_ptr<float>(),
                               rstd.const_data_ptr<float>(),
                               dy.const_data_ptr(),
                               residual.const_data_ptr(),
                               dx.mutable_data_ptr(),
                               sums.mutable_data_ptr<float>(),
                               width};
  in_pieces(kernels, rows, grain_of(width), [&](int64_t begin, int64_t end, int64_t piece) {
    LayerNormGradArgs own = args;
    own.dgamma += piece * width;
    kernels.layer_norm_grad(own, begin, end);
  });
  return {dx, sums.sum(0).to(gamma.scalar_type())};
}

}  // namespace palm
