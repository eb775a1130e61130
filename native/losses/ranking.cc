#include "losses/ranking.h"

#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/logsumexp.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/masked.h"
#include "base/shape.h"

namespace palm {

// Matrices [B, B] of which entry i, j is about answer i and answer j, as numbers 0 and 1.
struct Order {
  Tensor same;    // both answer the same prompt
  Tensor better;  // i is better than j
  Tensor tied;    // they are equally good, each pair once
  Tensor gap;     // score_i − score_j

  Order(const Tensor& score, const Tensor& group, const Tensor& rank)
      : same(group.unsqueeze(1).eq(group.unsqueeze(0)).to(score.scalar_type())),
        better(rank.unsqueeze(1).lt(rank.unsqueeze(0)).to(score.scalar_type()) * same),
        tied((rank.unsqueeze(1).eq(rank.unsqueeze(0)).to(score.scalar_type()) * same).triu(1)),
        gap(score.unsqueeze(1) - score.unsqueeze(0)) {}

  // What a pair of `all` weighs: weights sum to 1 in every group with one of them.
  Tensor weight(const Tensor& all) const { return all / same.mv(all.sum(1)).clamp_min(1).unsqueeze(1); }
  Tensor answers() const { return same.sum(1); }  // [B], in the group of each answer
};

static Tensor pairwise(const Order& order, const Tensor& score, const Tensor& weight, const RankingOptions& options) {
  const double width = options.tie_width.value_or(0), smoothing = options.label_smoothing;
  Tensor gap = order.gap;
  if (options.margin) gap = gap - options.margin->to(score.device(), score.scalar_type()).unsqueeze(1);
  if (width > 0) gap = gap - width;
  const Tensor wins = weight * order.better;
  Tensor total = -(at::log_sigmoid(gap) * wins).sum();
  if (smoothing > 0) total = (1 - smoothing) * total - smoothing * (at::log_sigmoid(-gap) * wins).sum();
  if (width > 0) {
    const Tensor tie =
        at::log_sigmoid(order.gap - width) + at::log_sigmoid(-order.gap - width) + std::log(std::expm1(2 * width));
    total = total - (tie * weight * order.tied).sum();
  }
  const Tensor i = score.unsqueeze(1), j = score.unsqueeze(0);
  if (options.center_weight > 0) total = total + options.center_weight * ((i + j).square() * weight).sum();
  if (options.l2_weight > 0) total = total + options.l2_weight / 2 * ((i.square() + j.square()) * weight).sum();
  return total;
}

static Tensor plackett_luce(const Order& order, const Tensor& score, const Tensor& rank) {
  if (order.tied.any().item<bool>())
    throw Error(ErrorKind::argument, "ranks", "equal ranks", "a full order of the answers to a prompt",
                "Plackett–Luce has no ties: leave them out, or use pairs.");
  const Tensor left = order.same.gt(0) & rank.unsqueeze(0).ge(rank.unsqueeze(1));  // j is not better than i
  const Tensor scores = score.unsqueeze(0).masked_fill(left.logical_not(), -std::numeric_limits<double>::infinity());
  return (at::logsumexp(scores, {1}) - score).sum();
}

static Tensor anchored(const Order& order, const Tensor& score, const Tensor& none_good) {
  const Tensor best = order.better.sum(0).eq(0).to(score.scalar_type());  // [B], no answer of the group is better
  const Tensor bad = at::log_sigmoid(-score) / order.answers(),
               good = at::log_sigmoid(score) * best / order.same.mv(best);
  return -good.where(none_good.logical_not(), bad).sum();
}

static void check(const Tensor& score, const RankingOptions& options) {
  for (const auto& [name, value] : {std::pair{"labelSmoothing", options.label_smoothing},
                                    {"centerWeight", options.center_weight},
                                    {"l2Weight", options.l2_weight},
                                    {"anchorWeight", options.anchor_weight}})
    if (!std::isfinite(value) || value < 0)
      throw Error(ErrorKind::argument, name, std::to_string(value), "a finite number >= 0");
  if (options.tie_width && !(std::isfinite(*options.tie_width) && *options.tie_width > 0))
    throw Error(ErrorKind::argument, "tieWidth", std::to_string(*options.tie_width), "a finite number > 0");
  if (options.margin) expect_shape(*options.margin, "margin", score.sizes());
  if (options.none_good) {
    expect_bool(*options.none_good, "noneGood");
    expect_shape(*options.none_good, "noneGood", score.sizes());
  } else if (options.anchor_weight > 0) {
    throw Error(ErrorKind::argument, "noneGood", "nothing", "a mask of the answers to prompts without a good one",
                "anchorWeight needs it.");
  }
}

Loss ranking_loss(const Tensor& score, const Tensor& group, const Tensor& rank, const RankingOptions& options,
                  std::optional<double> denominator) {
  check(score, options);
  const Order order(score, group.to(score.device()), rank.to(score.device()));
  const Tensor ordered = order.weight(order.better);
  const Tensor weight = options.tie_width ? order.weight(order.better + order.tied) : ordered;
  Tensor total = options.plackett_luce ? plackett_luce(order, score, rank.to(score.device()))
                                       : pairwise(order, score, weight, options);
  Tensor groups = weight.sum();
  if (options.anchor_weight > 0) {
    total = total + options.anchor_weight * anchored(order, score, options.none_good->to(score.device()));
    groups = order.answers().reciprocal().sum();
  }
  const Tensor far = order.gap.detach(), pairs = ordered.sum().clamp_min(1);
  const Tensor right = (far.gt(0).to(far.scalar_type()) + far.ge(0).to(far.scalar_type())) / 2;
  return {denominator ? total / divisor(*denominator) : total / groups.clamp_min(1),
          {{"accuracy", (right * ordered).sum() / pairs}, {"margin", (far * ordered).sum() / pairs}}};
}

}  // namespace palm
