#include "losses/kto.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "base/masked.h"
#include "losses/sequence.h"

namespace palm {

static Tensor reference_point(const std::vector<Tensor>& mismatched, const at::TensorOptions& like) {
  if (mismatched.empty()) return at::zeros({}, like);
  return at::cat(mismatched).detach().mean().clamp_min(0);
}

Loss kto_loss(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
              const Tensor& desirable, const std::vector<Tensor>& mismatched, const KtoOptions& options,
              const KtoDenominators& denominators) {
  const Tensor h = sequence_log_ratio(log_prob, reference_log_prob, response_mask);  // [B]
  const Tensor z0 = reference_point(mismatched, h.options());
  const Tensor r = options.beta * (h - z0) - options.delta;
  const Tensor towards = at::where(desirable, r, -r);
  const Tensor good = desirable.to(h.scalar_type());
  const Tensor weight = options.desirable_weight * good + options.undesirable_weight * (1 - good);
  const Tensor term = options.loss == KtoTerm::kto ? at::sigmoid(-towards) : -at::log_sigmoid(towards);

  const Tensor right = (towards.gt(0).to(h.scalar_type()) + towards.ge(0).to(h.scalar_type())) / 2;
  const Tensor counted = response_mask.any(1), reward = options.beta * h;
  return {masked_mean(weight * term, counted, denominators.rows),
          {{"accuracy", masked_mean(right, counted, denominators.rows)},
           {"kl", masked_mean(z0.expand_as(h), counted, denominators.rows)},
           {"desirable_reward", masked_mean(reward, counted & desirable, denominators.desirable)},
           {"undesirable_reward", masked_mean(reward, counted & desirable.logical_not(), denominators.undesirable)}}};
}

}  // namespace palm
