#include "losses/dpo.h"

#include <ATen/ops/log_sigmoid.h>

#include "base/error.h"
#include "base/masked.h"

namespace palm {

Loss dpo_loss(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
              const DpoOptions& options, std::optional<double> denominator, std::optional<double> nll_denominator) {
  if (log_prob.size(0) % 2 != 0)
    throw Error(ErrorKind::shape, "logProb", std::to_string(log_prob.size(0)) + " rows",
                "chosen rows and as many rejected");
  const int64_t pairs = log_prob.size(0) / 2;
  const double divided_by = divisor(denominator.value_or(static_cast<double>(pairs)));
  const auto mean = [&](const Tensor& of_pairs) { return of_pairs.sum() / divided_by; };

  const Tensor sum = within(log_prob, response_mask).sum(1);  // [2N]
  const Tensor h = sum - within(reference_log_prob, response_mask).sum(1);
  const Tensor chosen = h.narrow(0, 0, pairs), rejected = h.narrow(0, pairs, pairs);
  const Tensor margin = options.beta * (chosen - rejected);
  const Tensor nll = -masked_mean(log_prob.narrow(0, 0, pairs), response_mask.narrow(0, 0, pairs), nll_denominator);
  const Tensor preference = -mean(at::log_sigmoid(margin));

  const Tensor right = (margin.gt(0).to(h.scalar_type()) + margin.ge(0).to(h.scalar_type())) / 2;
  return {options.nll_weight == 0 ? preference : preference + options.nll_weight * nll,
          {{"accuracy", mean(right)},
           {"margin", mean(margin)},
           {"chosen_reward", mean(options.beta * chosen)},
           {"rejected_reward", mean(options.beta * rejected)},
           {"chosen_log_prob", mean(sum.narrow(0, 0, pairs))},
           {"rejected_log_prob", mean(sum.narrow(0, pairs, pairs))},
           {"nll", nll}}};
}

}  // namespace palm
