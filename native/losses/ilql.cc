#include "losses/ilql.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/minimum.h>

#include "base/masked.h"

namespace palm {

constexpr double kMaxExponent = 20;

Loss ilql_loss(const ActionValues& read, const Tensor& response, const Tensor& reward, const Tensor& response_mask,
               const IlqlOptions& options, std::optional<double> denominator) {
  const Tensor outside = response_mask.logical_not();
  const Tensor action = response.masked_fill(outside, 0).unsqueeze(-1);  // [B, R, 1]
  const auto mean = [&](const Tensor& x) { return masked_mean(x, response_mask, denominator); };
  const auto within_rows = [&](const Tensor& x) { return x.masked_fill(outside.unsqueeze(-1), 0); };
  const auto taken = [&](const Tensor& x) { return x.gather(-1, action).squeeze(-1); };  // [B, R, V] → [B, R]
  const auto surprise = [&](const Tensor& x) { return -taken(at::log_softmax(x, -1)); };

  const Tensor logits = within_rows(read.logits), q1 = within_rows(read.q1), q2 = within_rows(read.q2);
  const Tensor value = within(read.value, response_mask), known = value.detach();
  const Tensor q_bar = within(at::minimum(taken(read.target_q1), taken(read.target_q2)).detach(), response_mask);
  Tensor returns = within(reward, response_mask).clone();
  if (const int64_t last = response.size(1) - 1; last > 0)
    returns.narrow(1, 0, last).add_(known.narrow(1, 1, last), options.gamma);

  const Tensor gap = q_bar - value, advantage = gap.detach();
  const Tensor q_loss = mean((taken(q1) - returns).square() + (taken(q2) - returns).square());
  const Tensor above = advantage.ge(0).to(gap.scalar_type());  // tau and 1 − tau, in the precision of the gap
  const Tensor value_loss = mean((1 - options.tau + (2 * options.tau - 1) * above) * gap.square());
  const Tensor cql_loss = mean(surprise(q1) + surprise(q2));
  const Tensor weight = (options.beta * advantage).clamp(-kMaxExponent, kMaxExponent).exp();
  const Tensor awac_loss = mean(weight * surprise(logits));
  return {q_loss + value_loss + options.cql_weight * cql_loss + options.awac_weight * awac_loss,
          {{"q_loss", q_loss},
           {"value_loss", value_loss},
           {"cql_loss", cql_loss},
           {"awac_loss", awac_loss},
           {"q", mean(q_bar)},
           {"value", mean(value)},
           {"advantage", mean(advantage)}}};
}

Tensor ilql_logits(const Tensor& logits, const Tensor& target_q1, const Tensor& target_q2, double beta) {
  return logits + beta * at::minimum(target_q1, target_q2);
}

}  // namespace palm
