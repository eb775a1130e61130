#include "generation/sampler.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/searchsorted.h>

#include <cmath>

#include "generation/filters.h"
#include "generation/row-filter.h"
#include "kernels/dispatch.h"

namespace palm {

static Draw fused(const Kernels& kernels, const Tensor& logits, double inverse_temperature, const Tensor& uniform) {
  const int64_t rows = logits.size(0), width = logits.size(1);
  const Draw draw{at::empty({rows}, logits.options().dtype(at::kLong)),
                  at::empty({rows}, logits.options().dtype(at::kFloat))};
  const SampleArgs args{.logits = logits.const_data_ptr(),
                        .width = width,
                        .inverse_temperature = static_cast<float>(inverse_temperature),
                        .uniform = uniform.defined() ? uniform.const_data_ptr<double>() : nullptr,
                        .token = draw.token.mutable_data_ptr<int64_t>(),
                        .log_prob = draw.log_prob.mutable_data_ptr<float>()};
  launch(kernels, kernels.token.sample, args, rows, grain_of(width));
  return draw;
}

// The same from what filters leave, on the CPU.
static Draw filtered_by_rows(const Kernels& kernels, const Tensor& logits, const SamplerOptions& options,
                             const Tensor& uniform) {
  const Tensor own = logits.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  const Tensor weights = at::empty_like(own), top = at::empty({own.size(0)}, own.options());
  const WeighArgs args{.logits = own.const_data_ptr(),
                       .width = own.size(1),
                       .inverse_temperature = static_cast<float>(1 / options.temperature),
                       .weights = weights.mutable_data_ptr<float>(),
                       .top = top.mutable_data_ptr<float>()};
  float* const numbers = own.mutable_data_ptr<float>();
  at::parallel_for(0, own.size(0), grain_of(args.width), [&](int64_t begin, int64_t end) {
    kernels.token.weigh(args, begin, end);
    for (int64_t row = begin; row < end; ++row)
      if (!std::isnan(args.top[row]))
        filter_row(numbers + row * args.width, args.weights + row * args.width, args.top[row], args.width, options);
  });
  return fused(kernels, own, 1 / options.temperature, uniform);
}

Draw sample(const Tensor& logits, const SamplerOptions& options, const Tensor& uniform) {
  const bool greedy = options.greedy();
  const bool filters = !greedy && (options.top_k || options.top_p || options.min_p);
  const Kernels* const kernels = kernels_for(logits);
  if (filters && kernels && kernels->token.weigh)
    return filtered_by_rows(*kernels_for(logits.device(), at::kFloat), logits, options, uniform);
  if (!filters && kernels && kernels->token.sample && logits.is_contiguous())
    return fused(*kernels, logits, greedy ? 0 : 1 / options.temperature, uniform);

  Tensor filtered = logits.scalar_type() == at::kBFloat16 ? logits.to(at::kFloat) : logits;
  const Tensor doubt = (filtered - filtered).sum(-1);  // 0, or NaN if any logit is not finite
  if (greedy) return {filtered.argmax(-1), doubt};
  filtered = filtered / options.temperature;
  if (options.top_k) filtered = top_k(filtered, *options.top_k);
  if (options.top_p) filtered = top_p(filtered, *options.top_p);
  if (options.min_p) filtered = min_p(filtered, *options.min_p);
  const Tensor log_prob = at::log_softmax(filtered, -1);
  const Tensor cumulative = log_prob.to(at::kDouble).exp().cumsum(-1);
  const Tensor wanted = uniform.unsqueeze(-1) * cumulative.narrow(-1, -1, 1);
  // With NaN, searchsorted returns the index past the last token.
  const Tensor token =
      at::searchsorted(cumulative, wanted, /*out_int32=*/false, /*right=*/true).clamp_max_(cumulative.size(-1) - 1);
  return {token.squeeze(-1), log_prob.gather(-1, token).squeeze(-1) + doubt};
}

}  // namespace palm
