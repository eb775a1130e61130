#include "kernels/norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/dispatch.h"
#include "kernels/linear.h"

namespace palm {

// --- the kernel ------------------------------------------------------------------------------------------------------

static const void* data_of(const Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }

static Tensor statistics(const Tensor& x, int64_t heads) {
  return at::empty({x.size(0) * heads}, x.options().dtype(at::kFloat));
}

Normed norm_forward(const Kernels& kernels, const Tensor& x, const Norm& weights, const NormDescription& description,
                    const Tensor& y, int64_t heads) {
  const int64_t width = x.size(1) / heads;
  const Normed out{.y = y.defined() ? y : at::empty(x.sizes(), x.options()),
                   .mean = description.kind == NormKind::layer ? statistics(x, heads) : Tensor(),
                   .rstd = statistics(x, heads)};
  const NormArgs args{.x = x.const_data_ptr(),
                      .weight = data_of(weights.weight),
                      .bias = data_of(weights.bias),
                      .y = out.y.mutable_data_ptr(),
                      .mean = out.mean.defined() ? out.mean.mutable_data_ptr<float>() : nullptr,
                      .rstd = out.rstd.mutable_data_ptr<float>(),
                      .width = width,
                      .x_rows = {heads, x.stride(0)},
                      .y_rows = {heads, out.y.stride(0)},
                      .eps = static_cast<float>(description.eps),
                      .offset = static_cast<float>(description.offset),
                      .kind = description.kind};
  launch(kernels, kernels.norm, args, x.size(0) * heads, grain_of(width));
  return out;
}

NormGrad norm_backward(const Kernels& kernels, const Tensor& x, const Norm& weights, const NormDescription& description,
                       const Normed& normed, const Tensor& dy, const Tensor& residual, const Tensor& dx,
                       int64_t heads) {
  const int64_t width = x.size(1) / heads;
  const auto sums = [&](const Tensor& weight) {
    return weight.defined() ? at::zeros({partial_sums(kernels), width}, x.options().dtype(at::kFloat)) : Tensor();
  };
  const auto sums_of = [](const Tensor& sums) { return sums.defined() ? sums.mutable_data_ptr<float>() : nullptr; };
  const Tensor to = dx.defined() ? dx : at::empty(x.sizes(), x.options());
  const Tensor dweight = sums(weights.weight), dbias = sums(weights.bias);
  const NormGradArgs args{.x = x.const_data_ptr(),
                          .weight = data_of(weights.weight),
                          .mean = normed.mean.defined() ? normed.mean.const_data_ptr<float>() : nullptr,
                          .rstd = normed.rstd.const_data_ptr<float>(),
                          .dy = dy.const_data_ptr(),
                          .residual = data_of(residual),
                          .dx = to.mutable_data_ptr(),
                          .dweight = sums_of(dweight),
                          .dbias = sums_of(dbias),
                          .width = width,
                          .x_rows = {heads, x.stride(0)},
                          .dy_rows = {heads, dy.stride(0)},
                          .dx_rows = {heads, to.stride(0)},
                          .offset = static_cast<float>(description.offset),
                          .kind = description.kind};
  in_pieces(kernels, x.size(0) * heads, grain_of(width), [&](int64_t begin, int64_t end, int64_t piece) {
    NormGradArgs own = args;
    if (own.dweight) own.dweight += piece * width;
    if (own.dbias) own.dbias += piece * width;
    kernels.norm_grad(own, begin, end);
  });
  const auto summed = [](const Tensor& sums) { return sums.defined() ? sums.sum(0) : sums; };
  return {to, summed(dweight), summed(dbias)};
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct SavedNorm : torch::CustomClassHolder {
  SavedNorm(const Kernels& own_kernels, const NormDescription& own_description, Normed own_normed)
      : kernels(own_kernels), description(own_description), normed(std::move(own_normed)) {}
  const Kernels& kernels;
  const NormDescription description;
  const Normed normed;
};

struct NormNode : torch::autograd::Function<NormNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const std::optional<Tensor>& weight,
                        const std::optional<Tensor>& bias, const Kernels* kernels, const NormDescription* description) {
    const Tensor rows = x.reshape({-1, x.size(-1)}).contiguous();
    const Norm weights{weight.value_or(Tensor()), bias.value_or(Tensor())};
    Normed out = norm_forward(*kernels, rows, weights, *description);
    ctx->save_for_backward({rows, weights.weight, weights.bias});
    const Tensor y = std::exchange(out.y, Tensor());
    ctx->saved_data["norm"] =
        at::IValue::make_capsule(c10::make_intrusive<SavedNorm>(*kernels, *description, std::move(out)));
    return y.view(x.sizes());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list in = ctx->get_saved_variables();
    const auto holder = ctx->saved_data["norm"].toCapsule();
    const SavedNorm& saved = static_cast<const SavedNorm&>(*holder);
    const Tensor dy = grads[0].reshape(in[0].sizes()).contiguous();
    const NormGrad grad = norm_backward(saved.kernels, in[0], {in[1], in[2]}, saved.description, saved.normed, dy);
    return {grad.dx.view(grads[0].sizes()), grad.dweight, grad.dbias, Tensor(), Tensor()};
  }
};

// --- the reference ---------------------------------------------------------------------------------------------------

// Where libtorch would sum gradients of weights in bfloat16, or would normalise in several passes.
static const Kernels* kernels_of(const Tensor& x, const Norm& weights, const NormDescription& description) {
  const bool has_kernel =
      description.kind == NormKind::rms || (description.kind == NormKind::layer && x.scalar_type() == at::kBFloat16);
  const bool is_row = !weights.weight.defined() || weights.weight.dim() == 1;
  return has_kernel && is_row ? kernels_for(x) : nullptr;
}

static Tensor normalised(const Tensor& x, const NormDescription& description) {
  switch (description.kind) {
    case NormKind::layer:
      return at::layer_norm(x, x.sizes().slice(x.dim() - 1), /*weight=*/{}, /*bias=*/{}, description.eps);
    case NormKind::rms:
      return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + description.eps);
    default:
      return x / at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true).clamp_min(description.eps);
  }
}

static Tensor scale_of(const Tensor& weight, double offset) {
  const Tensor wide = widened(weight);
  return offset == 0 ? wide : wide + offset;
}

Tensor norm(const Tensor& x, const Norm& weights, const NormDescription& description) {
  const auto optional = [](const Tensor& weight) {
    return weight.defined() ? std::optional(weight) : std::optional<Tensor>();
  };
  if (const Kernels* const kernels = kernels_of(x, weights, description))
    return NormNode::apply(x, optional(weights.weight), optional(weights.bias), kernels, &description);
  const Tensor wide = x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
  if (is_centred(description))  // one pass
    return at::layer_norm(wide, weights.weight.sizes(), scale_of(weights.weight, 1), /*bias=*/{}, description.eps)
        .to(x.scalar_type());
  Tensor y = normalised(wide, description);
  if (weights.weight.defined()) y = y * scale_of(weights.weight, description.offset);
  if (weights.bias.defined()) y = y + widened(weights.bias);
  return y.to(x.scalar_type());
}

}  // namespace palm
