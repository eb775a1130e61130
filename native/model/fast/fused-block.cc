#include "model/fast/fused-block.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/causal-attention.h"
#include "kernels/layer-norm.h"
#include "kernels/linear.h"
#include "kernels/swiglu.h"
#include "model/kv-cache.h"

namespace palm {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Sizes of one call. Rows are the B·T tokens; a row of `projected` is [HK query | K key | K value | F value | F gate],
// one of `mixed` is [HK attention | F feed-forward].
struct BlockShape {
  int64_t batch, heads, head, ff;
  Tensor first;  // of FusedBlock

  int64_t queries() const { return heads * head; }
  int64_t attended() const { return queries() + 2 * head; }
  Tensor gates(const Tensor& projected) const { return projected.narrow(1, attended(), 2 * ff); }
  AttentionRows attention(const Tensor& projected) const {
    return {projected.narrow(1, 0, queries()),
            projected.narrow(1, queries(), head),
            projected.narrow(1, queries() + head, head),
            batch,
            heads,
            first};
  }
};

// What the forward pass computes on the way, of which the backward pass needs most.
struct Activations {
  LayerNormed norm;  // y [M, D]
  Tensor projected;  // [M, HK + 2K + 2F], queries and keys turned
  Tensor mixed;      // [M, HK + F]
  AttentionState attention;
};

static Tensor ff_of(const BlockShape& shape, const Tensor& mixed) { return mixed.narrow(1, shape.queries(), shape.ff); }

static Activations activations(const FusedBlock& self, const BlockShape& shape, const Tensor& x) {
  Activations now;
  now.norm = layer_norm_forward(self.kernels, x, self.block.norm);
  now.projected = at::mm(now.norm.y, self.block.input.t());
  if (self.adapters) now.projected.narrow(1, 0, shape.attended()).add_(self.adapters->input(now.norm.y));
  rotate_rows(self.kernels, now.projected, self.rotary, shape.heads, /*inverse=*/false);
  if (self.cache) {
    const AttentionRows rows = shape.attention(now.projected);
    self.cache->append(self.layer, rows.key.unflatten(0, {shape.batch, -1}),
                       rows.value.unflatten(0, {shape.batch, -1}));
  }
  now.mixed = at::empty({x.size(0), shape.queries() + shape.ff}, x.options());
  now.attention =
      attention_forward(self.kernels, shape.attention(now.projected), now.mixed.narrow(1, 0, shape.queries()));
  swiglu_forward(self.kernels, shape.gates(now.projected), ff_of(shape, now.mixed));
  return now;
}

static Tensor leave(const FusedBlock& self, const BlockShape& shape, const Tensor& x, const Tensor& mixed) {
  Tensor y = at::addmm(x, mixed, self.block.output.t());
  if (self.adapters) y.add_(self.adapters->output(mixed.narrow(1, 0, shape.queries())));
  return y;
}

Tensor FusedBlock::forward(const Tensor& x, Activations* kept) const {
  const BlockShape shape{x.size(0), config.heads, config.dim_head, config.ff(), first};
  const Tensor rows = x.flatten(0, 1).contiguous();
  Activations now = activations(*this, shape, rows);
  const Tensor y = leave(*this, shape, rows, now.mixed).view(x.sizes());
  if (kept) *kept = std::move(now);
  return y;
}

// --- backward --------------------------------------------------------------------------------------------------------

// y = scale · x A B: adds to dx, gives dA and dB.
static void adapter_grad(const Tensor& x, const Tensor& dy, const Adapter& adapter, Tensor dx, Tensor& da, Tensor& db) {
  const Tensor inner = at::mm(dy, adapter.up().t());
  db = weight_gradient(adapter.down(x), dy);
  da = weight_gradient(x, inner);
  dx.addmm_(inner, adapter.a.t());
}

// What the backward pass is given beside the saved inputs.
struct Saved : torch::CustomClassHolder {
  Saved(const FusedBlock& self, int64_t rows_of_batch, Activations activations)
      : kernels(self.kernels),
        config(self.config),
        rotary(self.rotary),
        first(self.first),
        batch(rows_of_batch),
        adapter_scale(self.adapters ? self.adapters->query.scale : 1),
        now(std::move(activations)) {
    if (config.recompute == Recompute::full) now = {};
    if (config.recompute == Recompute::selective) {
      now.norm.y.reset();
      // Most of `mixed` is the feed-forward's half, which its own gradient's kernel writes again from `projected`.
      const Tensor& out = now.attention.out;
      now.mixed = out.defined() ? out : now.mixed.narrow(1, 0, config.heads * config.dim_head).contiguous();
    }
    now.attention.out.reset();
  }

  Activations restored(const FusedBlock& self, const BlockShape& shape, const Tensor& x) const {
    if (config.recompute == Recompute::full) return activations(self, shape, x);
    if (config.recompute == Recompute::none) return now;
    Activations all = now;
    all.norm.y = layer_norm_forward(kernels, x, self.block.norm).y;
    return all;
  }

  const Kernels& kernels;
  const PalmConfig config;
  const RotaryTables rotary;
  const Tensor first;
  const int64_t batch;
  const double adapter_scale;
  Activations now;
};

// Inputs of the node, in order.
enum Input { kX, kNorm, kIn, kOut, kQueryA, kQueryB, kKeyA, kKeyB, kValueA, kValueB, kOutputA, kOutputB, kInputs };

using Maybe = const std::optional<Tensor>&;

struct FusedBlockNode : torch::autograd::Function<FusedBlockNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& norm, const Tensor& input,
                        const Tensor& output, Maybe query_a, Maybe query_b, Maybe key_a, Maybe key_b, Maybe value_a,
                        Maybe value_b, Maybe output_a, Maybe output_b, const FusedBlock* self) {
    Activations now;
    const Tensor y = self->forward(x, &now);
    variable_list inputs = {x, norm, input, output};
    for (Maybe adapter : {query_a, query_b, key_a, key_b, value_a, value_b, output_a, output_b})
      inputs.push_back(adapter.value_or(Tensor()));
    ctx->save_for_backward(inputs);
    ctx->saved_data["now"] = at::IValue::make_capsule(c10::make_intrusive<Saved>(*self, x.size(0), std::move(now)));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads);
};

variable_list FusedBlockNode::backward(AutogradContext* ctx, const variable_list& grads) {
  const variable_list in = ctx->get_saved_variables();
  const auto holder = ctx->saved_data["now"].toCapsule();
  ctx->saved_data.erase("now");  // activations go with this node, not with the loss that holds the graph
  const Saved& saved = static_cast<const Saved&>(*holder);
  const ParallelBlock block{in[kNorm], in[kIn], in[kOut], {}, {}};
  FusedBlock self{saved.kernels, saved.config, block, {}, saved.rotary, saved.first};
  if (in[kQueryA].defined()) {
    const auto adapter = [&](Input a, Input b) { return Adapter{in[a], in[b], saved.adapter_scale}; };
    self.adapters = LayerAdapters{adapter(kQueryA, kQueryB), adapter(kKeyA, kKeyB), adapter(kValueA, kValueB),
                                  adapter(kOutputA, kOutputB)};
  }
  const BlockShape shape{saved.batch, self.config.heads, self.config.dim_head, self.config.ff(), saved.first};
  const Tensor x = in[kX].flatten(0, 1).contiguous(), dy = grads[0].flatten(0, 1).contiguous();
  const Activations now = saved.restored(self, shape, x);
  variable_list out(kInputs + 1);  // and the pointer, which has no gradient

  const Tensor dmixed = at::mm(dy, block.output);
  const Tensor attended = now.mixed.narrow(1, 0, shape.queries()), dattended = dmixed.narrow(1, 0, shape.queries());
  if (self.adapters) adapter_grad(attended, dy, self.adapters->output, dattended, out[kOutputA], out[kOutputB]);

  const Tensor dprojected = at::empty_like(now.projected);
  attention_backward(self.kernels, shape.attention(now.projected), attended, now.attention, dattended,
                     shape.attention(dprojected));
  // Where only attention's part of `mixed` was kept, the whole takes the place of its gradient, once that is read.
  const bool kept = now.mixed.sizes() == dmixed.sizes();
  const auto ff = kept ? std::nullopt : std::optional(ff_of(shape, dmixed));
  swiglu_backward(self.kernels, shape.gates(now.projected), ff_of(shape, dmixed), shape.gates(dprojected), ff);
  if (ctx->needs_input_grad(kOut)) {
    if (!kept) dattended.copy_(attended);
    out[kOut] = weight_gradient(dy, kept ? now.mixed : dmixed);
  }
  rotate_rows(self.kernels, dprojected, self.rotary, shape.heads, /*inverse=*/true);

  const Tensor dnormed = at::mm(dprojected, block.input);
  if (ctx->needs_input_grad(kIn)) out[kIn] = weight_gradient(dprojected, now.norm.y);
  if (self.adapters) {
    const AttentionRows from = shape.attention(dprojected);
    adapter_grad(now.norm.y, from.query, self.adapters->query, dnormed, out[kQueryA], out[kQueryB]);
    adapter_grad(now.norm.y, from.key, self.adapters->key, dnormed, out[kKeyA], out[kKeyB]);
    adapter_grad(now.norm.y, from.value, self.adapters->value, dnormed, out[kValueA], out[kValueB]);
  }
  const LayerNormGrad last =
      layer_norm_backward(self.kernels, x, block.norm, now.norm.mean, now.norm.rstd, dnormed, dy);
  out[kX] = last.dx.view(in[kX].sizes());
  out[kNorm] = last.dgamma;
  return out;
}

Tensor FusedBlock::operator()(const Tensor& x) const {
  if (!at::GradMode::is_enabled()) return forward(x);
  const auto part = [&](Adapter LayerAdapters::*place, Tensor Adapter::*matrix) {
    return adapters ? std::optional((*adapters).*place.*matrix) : std::nullopt;
  };
  using Of = LayerAdapters;
  return FusedBlockNode::apply(x, block.norm, block.input, block.output, part(&Of::query, &Adapter::a),
                               part(&Of::query, &Adapter::b), part(&Of::key, &Adapter::a), part(&Of::key, &Adapter::b),
                               part(&Of::value, &Adapter::a), part(&Of::value, &Adapter::b),
                               part(&Of::output, &Adapter::a), part(&Of::output, &Adapter::b), this);
}

}  // namespace palm
