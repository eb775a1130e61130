#include "kernels/token-log-prob.h"

#include <ATen/core/Reduction.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "kernels/dispatch.h"
#include "kernels/linear.h"

namespace palm {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Logits per piece: 64 MiB in bfloat16; 512 MiB on a GPU, whose products need more rows.
static int64_t piece_on(const Tensor& hidden) { return int64_t{1} << (hidden.is_cuda() ? 28 : 25); }

// each(first row, rows) over all rows of `hidden`, in pieces.
template <class Each>
static void for_pieces(const Tensor& hidden, int64_t width, const Each& each) {
  const int64_t rows = hidden.size(0), step = std::max<int64_t>(1, piece_on(hidden) / std::max<int64_t>(width, 1));
  for (int64_t first = 0; first < rows; first += step) each(first, std::min(step, rows - first));
}

// The results of the kernels for the head's rows.
struct LogitRows {
  Tensor target;             // [M]
  Tensor log_prob, entropy;  // [M] float32
  Tensor lse;                // [M] float32
  float inverse_temperature;

  LogitRows(const Tensor& hidden, const Tensor& wanted, double temperature)
      : target(wanted.contiguous()),
        log_prob(at::empty({hidden.size(0)}, hidden.options().dtype(at::kFloat))),
        entropy(at::empty_like(log_prob)),
        lse(at::empty_like(log_prob)),
        inverse_temperature(static_cast<float>(1 / temperature)) {}

  void read(const Kernels& kernels, const Tensor& logits, int64_t first) const {
    const LogProbArgs args{.logits = logits.const_data_ptr(),
                           .target = target.const_data_ptr<int64_t>() + first,
                           .log_prob = log_prob.mutable_data_ptr<float>() + first,
                           .entropy = entropy.mutable_data_ptr<float>() + first,
                           .lse = lse.mutable_data_ptr<float>() + first,
                           .width = logits.size(1),
                           .inverse_temperature = inverse_temperature};
    launch(kernels, kernels.log_prob, args, logits.size(0), grain_of(logits.size(1)));
  }

  // Replaces the logits by their gradient.
  void differentiate(const Kernels& kernels, const Tensor& logits, int64_t first, const float* dlog_prob,
                     const float* dentropy) const {
    const LogProbGradArgs args{.logits = logits.mutable_data_ptr(),
                               .target = target.const_data_ptr<int64_t>() + first,
                               .lse = lse.const_data_ptr<float>() + first,
                               .entropy = entropy.const_data_ptr<float>() + first,
                               .dlog_prob = dlog_prob + first,
                               .dentropy = dentropy ? dentropy + first : nullptr,
                               .width = logits.size(1),
                               .inverse_temperature = inverse_temperature};
    launch(kernels, kernels.log_prob_grad, args, logits.size(0), grain_of(logits.size(1)));
  }
};

// --- logits ----------------------------------------------------------------------------------------------------------

static Tensor capped(const Tensor& z, const std::optional<double>& softcap) {
  return softcap ? at::tanh(z / *softcap) * *softcap : z;
}

static Tensor scaled(const Tensor& z, double scale) { return scale == 1 ? z : z * scale; }

Tensor head_logits(const Tensor& hidden, const HeadWeights& head) {
  const Tensor bias = head.bias.defined() ? head.bias.narrow(0, 0, head.rows) : head.bias;
  const Tensor z = add_bias(trained_rows(hidden, head.weight, 0, head.rows), bias);
  return finished_logits(z, head);
}

Tensor finished_logits(const Tensor& z, const HeadWeights& head) { return capped(scaled(z, head.scale), head.softcap); }

// The same for one piece of rows, without a graph.
static Tensor piece_logits(const Tensor& hidden, const HeadWeights& head) {
  Tensor z = at::mm(hidden, head.weight.narrow(0, 0, head.rows).t());
  if (head.bias.defined()) z.add_(head.bias.narrow(0, 0, head.rows));
  if (head.scale != 1) z.mul_(head.scale);
  if (head.softcap) z.div_(*head.softcap).tanh_().mul_(*head.softcap);
  return z;
}

// Accumulates the gradients of hidden, weight and bias piece by piece from those of the logits.
class HeadGrad {
 public:
  struct Wants {
    bool hidden, weight, bias;
  };
  HeadGrad(const Tensor& hidden, const HeadWeights& head, const Wants& wants) : hidden_(hidden), head_(head) {
    if (wants.hidden) dhidden = at::empty_like(hidden);
    if (wants.weight) dweight = at::zeros(head.weight.sizes(), head.weight.options().dtype(at::kFloat));
    if (wants.bias) dbias = at::zeros(head.bias.sizes(), head.bias.options().dtype(at::kFloat));
  }

  // What cap and scale multiply the gradient of these logits by; undefined for nothing.
  Tensor slope(const Tensor& logits) const {
    return head_.softcap ? (1 - (logits.to(at::kFloat) / *head_.softcap).square()).mul_(head_.scale) : Tensor();
  }

  void add(const Tensor& dlogits, const Tensor& slope, int64_t first) {
    if (slope.defined())
      dlogits.mul_(slope);
    else if (head_.scale != 1)
      dlogits.mul_(head_.scale);
    const int64_t rows = dlogits.size(0);
    if (dhidden.defined()) {
      Tensor place = dhidden.narrow(0, first, rows);
      at::mm_out(place, dlogits, head_.weight.narrow(0, 0, head_.rows));
    }
    if (dweight.defined())
      add_weight_gradient(dweight.narrow(0, 0, head_.rows), dlogits, hidden_.narrow(0, first, rows));
    if (dbias.defined()) dbias.narrow(0, 0, head_.rows).add_(dlogits.sum(0, /*keepdim=*/false, at::kFloat));
  }

  Tensor dhidden, dweight, dbias;  // undefined if not wanted; those of weights are float32

 private:
  const Tensor hidden_;
  const HeadWeights head_;
};

// An undefined tensor cannot be an input of a node.
static std::optional<Tensor> optional_bias(const HeadWeights& head) {
  return head.bias.defined() ? std::optional(head.bias) : std::nullopt;
}

// What a node needs of the head besides its weights, which are inputs.
static void save_head(AutogradContext* ctx, const HeadWeights& head) {
  ctx->saved_data["rows"] = head.rows;
  ctx->saved_data["scale"] = head.scale;
  ctx->saved_data["softcap"] = head.softcap.value_or(0);
}

static HeadWeights saved_head(AutogradContext* ctx, const Tensor& weight, const Tensor& bias) {
  const double softcap = ctx->saved_data["softcap"].toDouble();
  return {.weight = weight,
          .bias = bias,
          .rows = ctx->saved_data["rows"].toInt(),
          .scale = ctx->saved_data["scale"].toDouble(),
          .softcap = softcap == 0 ? std::nullopt : std::optional(softcap)};
}

static Tensor is_right(const Tensor& logits, const Tensor& target) { return logits.argmax(-1).eq(target); }

// --- log-probabilities -----------------------------------------------------------------------------------------------

struct TokenLogProbNode : torch::autograd::Function<TokenLogProbNode> {
  static variable_list forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& weight,
                               const std::optional<Tensor>& bias, const HeadWeights* head, const Tensor& target,
                               double temperature, bool with_right, const Kernels* kernels) {
    const LogitRows rows(hidden, target, temperature);
    std::vector<Tensor> right;
    for_pieces(hidden, head->rows, [&](int64_t first, int64_t count) {
      const Tensor logits = piece_logits(hidden.narrow(0, first, count), *head);
      rows.read(*kernels, logits, first);
      if (with_right) right.push_back(is_right(logits, target.narrow(0, first, count)));
    });
    ctx->save_for_backward({hidden, weight, bias.value_or(Tensor()), rows.target, rows.lse, rows.entropy});
    save_head(ctx, *head);
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["kernels"] = reinterpret_cast<int64_t>(kernels);
    if (right.empty()) return {rows.log_prob, rows.entropy};
    const Tensor all = at::cat(right);
    ctx->mark_non_differentiable({all});
    return {rows.log_prob, rows.entropy, all};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor& hidden = saved[0];
    const HeadWeights head = saved_head(ctx, saved[1], saved[2]);
    const Kernels& kernels = *reinterpret_cast<const Kernels*>(ctx->saved_data["kernels"].toInt());
    LogitRows rows(hidden, saved[3], ctx->saved_data["temperature"].toDouble());
    rows.lse = saved[4];
    rows.entropy = saved[5];
    const Tensor dlog_prob = grads[0].contiguous(), dentropy = grads[1].contiguous();
    HeadGrad grad(hidden, head,
                  {.hidden = ctx->needs_input_grad(0),
                   .weight = ctx->needs_input_grad(1),
                   .bias = head.bias.defined() && ctx->needs_input_grad(2)});
    for_pieces(hidden, head.rows, [&](int64_t first, int64_t count) {
      const Tensor logits = piece_logits(hidden.narrow(0, first, count), head);
      const Tensor slope = grad.slope(logits);
      rows.differentiate(kernels, logits, first, dlog_prob.const_data_ptr<float>(), dentropy.const_data_ptr<float>());
      grad.add(logits, slope, first);
    });
    return {grad.dhidden, grad.dweight, grad.dbias, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

static Tensor entropy_of(const Tensor& log_softmax) { return -(log_softmax.exp() * log_softmax).sum(-1); }

// log p is −inf if a logit is: the clamp makes p log p 0 instead of NaN.
Tensor entropy(const Tensor& logits) { return entropy_of(at::log_softmax(logits, -1).clamp_min(-1e30)); }

TokenLogProb token_log_prob(const Tensor& logits, const Tensor& target) {
  const Tensor log_softmax = at::log_softmax(logits, -1);
  return {log_softmax.gather(1, target.unsqueeze(1)).squeeze(1), entropy_of(log_softmax), is_right(logits, target)};
}

static Tensor precise_logits(const Tensor& hidden, const HeadWeights& head) {
  const Tensor logits = head_logits(hidden, head);
  return logits.scalar_type() == at::kBFloat16 ? logits.to(at::kFloat) : logits;
}

static TokenLogProb reference(const Tensor& hidden, const HeadWeights& head, const Tensor& target, double temperature) {
  if (hidden.size(0) == 0) return {hidden.sum(-1), hidden.sum(-1), target.ne(target)};
  std::vector<Tensor> log_probs, entropies, right;
  for_pieces(hidden, head.rows, [&](int64_t first, int64_t count) {
    const Tensor logits = precise_logits(hidden.narrow(0, first, count), head);
    const TokenLogProb piece = token_log_prob(logits / temperature, target.narrow(0, first, count));
    log_probs.push_back(piece.log_prob);
    entropies.push_back(piece.entropy);
    right.push_back(piece.right);
  });
  return {at::cat(log_probs), at::cat(entropies), at::cat(right)};
}

TokenLogProb token_log_prob(const Tensor& hidden, const HeadWeights& head, const Tensor& target, double temperature,
                            bool with_right) {
  const Kernels* const kernels = kernels_for(hidden);
  if (!kernels) return reference(hidden, head, target, temperature);
  const variable_list out = TokenLogProbNode::apply(hidden.contiguous(), head.weight, optional_bias(head), &head,
                                                    target, temperature, with_right, kernels);
  return {out[0], out[1], out.size() > 2 ? out[2] : Tensor()};
}

// --- cross entropy ---------------------------------------------------------------------------------------------------

struct CrossEntropyNode : torch::autograd::Function<CrossEntropyNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& weight,
                        const std::optional<Tensor>& bias, const HeadWeights* head, const Tensor& target,
                        const Kernels* kernels, bool record) {
    const LogitRows rows(hidden, target, /*temperature=*/1);
    HeadGrad grad(hidden, *head,
                  {.hidden = record && hidden.requires_grad(),
                   .weight = record && weight.requires_grad(),
                   .bias = record && bias && bias->requires_grad()});
    const Tensor down = at::full({hidden.size(0)}, -1.0, rows.log_prob.options());  // ∂ loss / ∂ log_prob
    for_pieces(hidden, head->rows, [&](int64_t first, int64_t count) {
      const Tensor logits = piece_logits(hidden.narrow(0, first, count), *head);
      rows.read(*kernels, logits, first);
      if (!record) return;
      const Tensor slope = grad.slope(logits);
      rows.differentiate(*kernels, logits, first, down.const_data_ptr<float>(), nullptr);
      grad.add(logits, slope, first);
    });
    if (record) ctx->save_for_backward({grad.dhidden, grad.dweight, grad.dbias});
    return -rows.log_prob.sum();
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list ready = ctx->get_saved_variables();
    const auto scaled = [&](const Tensor& grad) { return grad.defined() ? grad * grads[0] : grad; };
    return {scaled(ready[0]), scaled(ready[1]), scaled(ready[2]), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

Tensor linear_cross_entropy(const Tensor& hidden, const HeadWeights& head, const Tensor& target) {
  if (const Kernels* const kernels = kernels_for(hidden)) {
    const bool trained = head.weight.requires_grad() || (head.bias.defined() && head.bias.requires_grad());
    const bool record = at::GradMode::is_enabled() && (hidden.requires_grad() || trained);
    return CrossEntropyNode::apply(hidden.contiguous(), head.weight, optional_bias(head), &head, target, kernels,
                                   record);
  }
  constexpr int64_t kIgnored = -1;
  return at::cross_entropy_loss(precise_logits(hidden, head), target.clamp_min(kIgnored), {}, at::Reduction::Sum,
                                kIgnored);
}

}  // namespace palm
