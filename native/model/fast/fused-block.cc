#include "model/fast/fused-block.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "kernels/causal-attention.h"
#include "kernels/layer-norm.h"
#include "kernels/linear.h"
#include "kernels/swiglu.h"
#include "model/kv-cache.h"

namespace palm {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool FusedBlock::supports(const DecoderDescription& decoder) {
  const auto like_first = [&](const LayerDescription& layer) {
    return layer.window == 0 && layer.rope == 0 && layer.scale == decoder.layers.front().scale;
  };
  const bool block = is_centred(decoder.norm) && decoder.shared_norm && !decoder.qkv_bias && !decoder.output_bias &&
                     !decoder.ff_bias && decoder.gated && decoder.activation == Activation::silu &&
                     decoder.residual_scale == 1 && decoder.final_norm;
  const bool attention = decoder.kv_heads == 1 && !decoder.qk_norm && !decoder.clip_qkv && decoder.alibi.empty() &&
                         !decoder.softcap && std::ranges::all_of(decoder.layers, like_first) &&
                         decoder.ropes.front().width() == decoder.dim_head;
  const bool ends = !decoder.positions && !decoder.embedding_norm && decoder.embedding_scale == 1 &&
                    !decoder.narrow_embedding() && !decoder.head_bias && decoder.logit_scale == 1 &&
                    !decoder.final_softcap;
  return block && attention && ends;
}

// The rows of one call are its B·T tokens. A row of `projected` is [HK query | K key | K value | F value | F gate], a
// row of `block_hidden` is [HK attention | F feed-forward].
struct BlockRows {
  const DecoderDescription& decoder;
  int64_t batch;
  Tensor sequence_start;  // as in FusedBlock

  Tensor gates(const Tensor& projected) const { return projected.narrow(1, decoder.qkv_width(), 2 * decoder.ff); }
  Tensor attended(const Tensor& block_hidden) const { return block_hidden.narrow(1, 0, decoder.query_width()); }
  Tensor fed_forward(const Tensor& block_hidden) const {
    return block_hidden.narrow(1, decoder.query_width(), decoder.ff);
  }
  AttentionRows attention(const Tensor& projected) const {
    return {.query = projected.narrow(1, 0, decoder.query_width()),
            .key = projected.narrow(1, decoder.query_width(), decoder.dim_head),
            .value = projected.narrow(1, decoder.query_width() + decoder.dim_head, decoder.dim_head),
            .batch = batch,
            .heads = decoder.heads,
            .first_key = sequence_start};
  }
};

// Intermediate results of the forward pass, most of which the backward pass needs.
struct Activations {
  LayerNormed norm;     // y [M, D]
  Tensor projected;     // [M, HK + 2K + 2F], queries and keys rotated
  Tensor block_hidden;  // [M, HK + F]
  AttentionState attention;
};

static Activations activations(const FusedBlock& self, const BlockRows& rows, const Tensor& x) {
  Activations now;
  now.norm = layer_norm_forward(self.kernels, x, self.block.norm.weight);
  now.projected = at::mm(now.norm.y, self.block.input.t());
  const int64_t width = self.decoder.qkv_width();
  if (const Tensor added = self.adapters.added(now.norm.y, 0, width); added.defined())
    now.projected.narrow(1, 0, width).add_(added);
  rotate_rows(self.kernels, now.projected, self.rotary, self.decoder.heads, /*inverse=*/false);
  const AttentionRows read = rows.attention(now.projected);
  if (self.cache) {
    const auto by_row = [&](const Tensor& x) { return x.unflatten(0, {rows.batch, -1}).unsqueeze(1); };  // [B, 1, T, K]
    self.cache->append(self.layer, by_row(read.key), by_row(read.value));
  }
  now.block_hidden = at::empty({x.size(0), self.decoder.hidden_width()}, x.options());
  now.attention = attention_forward(self.kernels, read, rows.attended(now.block_hidden));
  swiglu_forward(self.kernels, rows.gates(now.projected), rows.fed_forward(now.block_hidden));
  return now;
}

static Tensor output_projection(const FusedBlock& self, const Tensor& x, const Tensor& block_hidden) {
  Tensor y = at::addmm(x, block_hidden, self.block.output.t());
  for (const Adapter& adapter : self.adapters.output)
    y.add_(adapter(block_hidden.narrow(1, adapter.first, adapter.count)));
  return y;
}

Tensor FusedBlock::forward(const Tensor& x, Activations* kept) const {
  const BlockRows all{.decoder = decoder, .batch = x.size(0), .sequence_start = sequence_start};
  const Tensor rows = x.flatten(0, 1).contiguous();
  Activations now = activations(*this, all, rows);
  const Tensor y = output_projection(*this, rows, now.block_hidden).view(x.sizes());
  if (kept) *kept = std::move(now);
  return y;
}

// --- backward --------------------------------------------------------------------------------------------------------

// y = scale · x A B: adds to dx, returns dA and dB.
static void adapter_grad(const Tensor& x, const Tensor& dy, const Adapter& adapter, Tensor dx, Tensor& da, Tensor& db) {
  const Tensor inner = at::mm(dy, adapter.up().t());
  db = weight_gradient(adapter.down(x), dy);
  da = weight_gradient(x, inner);
  dx.addmm_(inner, adapter.a.t());
}

// State for the backward pass in addition to the saved inputs.
struct Saved : torch::CustomClassHolder {
  Saved(const FusedBlock& self, int64_t rows_of_batch, Activations activations)
      : kernels(self.kernels),
        decoder(self.decoder),
        rotary(self.rotary),
        sequence_start(self.sequence_start),
        batch(rows_of_batch),
        adapters(self.adapters),
        now(std::move(activations)) {
    for (auto* side : {&adapters.input, &adapters.output})
      for (Adapter& adapter : *side) adapter.a = adapter.b = Tensor();  // saved as inputs
    if (decoder.recompute == Recompute::full) now = {};
    if (decoder.recompute == Recompute::selective) {
      now.norm.y.reset();
      // Most of `block_hidden` is the feed-forward part, which swiglu_backward recomputes from `projected`.
      const Tensor& out = now.attention.out;
      now.block_hidden = out.defined() ? out : now.block_hidden.narrow(1, 0, decoder.query_width()).contiguous();
    }
    now.attention.out.reset();
  }

  Activations restored(const FusedBlock& self, const BlockRows& rows, const Tensor& x) const {
    if (decoder.recompute == Recompute::full) return activations(self, rows, x);
    if (decoder.recompute == Recompute::none) return now;
    Activations all = now;
    all.norm.y = layer_norm_forward(kernels, x, self.block.norm.weight).y;
    return all;
  }

  // The adapters with their matrices, which follow the first inputs of the node.
  LayerAdapters adapters_of(const variable_list& inputs) const;

  const Kernels& kernels;
  const DecoderDescription decoder;
  const RotaryTables rotary;
  const Tensor sequence_start;
  const int64_t batch;
  LayerAdapters adapters;
  Activations now;
};

// Inputs of the node in order, followed by a and b of every adapter, those on `input` first.
enum Input { kX, kNorm, kIn, kOut, kAdapters };

LayerAdapters Saved::adapters_of(const variable_list& inputs) const {
  LayerAdapters all = adapters;
  size_t next = kAdapters;
  for (auto* side : {&all.input, &all.output}) {
    for (Adapter& adapter : *side) {
      adapter.a = inputs[next++];
      adapter.b = inputs[next++];
    }
  }
  return all;
}

struct FusedBlockNode : torch::autograd::Function<FusedBlockNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& norm, const Tensor& input,
                        const Tensor& output, at::TensorList adapters, const FusedBlock* self) {
    Activations now;
    const Tensor y = self->forward(x, &now);
    variable_list inputs = {x, norm, input, output};
    inputs.insert(inputs.end(), adapters.begin(), adapters.end());
    ctx->save_for_backward(inputs);
    ctx->saved_data["now"] = at::IValue::make_capsule(c10::make_intrusive<Saved>(*self, x.size(0), std::move(now)));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads);
};

variable_list FusedBlockNode::backward(AutogradContext* ctx, const variable_list& grads) {
  const variable_list in = ctx->get_saved_variables();
  const auto holder = ctx->saved_data["now"].toCapsule();
  ctx->saved_data.erase("now");  // free activations with this node, not with the loss that holds the graph
  const Saved& saved = static_cast<const Saved&>(*holder);
  Block block;
  block.norm.weight = in[kNorm];
  block.input = in[kIn];
  block.output = in[kOut];
  const FusedBlock self{.kernels = saved.kernels,
                        .decoder = saved.decoder,
                        .block = block,
                        .adapters = saved.adapters_of(in),
                        .rotary = saved.rotary,
                        .sequence_start = saved.sequence_start};
  const BlockRows rows{.decoder = saved.decoder, .batch = saved.batch, .sequence_start = saved.sequence_start};
  const Tensor x = in[kX].flatten(0, 1).contiguous(), dy = grads[0].flatten(0, 1).contiguous();
  const Activations now = saved.restored(self, rows, x);
  variable_list out(in.size() + 1);  // + 1 for the pointer, which has no gradient

  const Tensor dblock_hidden = at::mm(dy, block.output);
  const Tensor attended = rows.attended(now.block_hidden), dattended = rows.attended(dblock_hidden);
  size_t next = kAdapters + 2 * self.adapters.input.size();
  for (const Adapter& adapter : self.adapters.output) {
    const auto columns = [&](const Tensor& all) { return all.narrow(1, adapter.first, adapter.count); };
    adapter_grad(columns(attended), dy, adapter, columns(dattended), out[next], out[next + 1]);
    next += 2;
  }

  const Tensor dprojected = at::empty_like(now.projected);
  attention_backward(self.kernels, rows.attention(now.projected), attended, now.attention, dattended,
                     rows.attention(dprojected));
  // If only the attention part of `block_hidden` was kept, the whole is rebuilt in the memory of its gradient, which is
  // no longer needed then.
  const bool kept = now.block_hidden.sizes() == dblock_hidden.sizes();
  const auto ff = kept ? std::nullopt : std::optional(rows.fed_forward(dblock_hidden));
  swiglu_backward(self.kernels, rows.gates(now.projected), rows.fed_forward(dblock_hidden), rows.gates(dprojected), ff);
  if (ctx->needs_input_grad(kOut)) {
    if (!kept) dattended.copy_(attended);
    out[kOut] = weight_gradient(dy, kept ? now.block_hidden : dblock_hidden);
  }
  rotate_rows(self.kernels, dprojected, self.rotary, self.decoder.heads, /*inverse=*/true);

  const Tensor dnormed = at::mm(dprojected, block.input);
  if (ctx->needs_input_grad(kIn)) out[kIn] = weight_gradient(dprojected, now.norm.y);
  next = kAdapters;
  for (const Adapter& adapter : self.adapters.input) {
    const Tensor down = dprojected.narrow(1, adapter.first, adapter.count);
    adapter_grad(now.norm.y, down, adapter, dnormed, out[next], out[next + 1]);
    next += 2;
  }
  const LayerNormGrad last =
      layer_norm_backward(self.kernels, x, block.norm.weight, now.norm.mean, now.norm.rstd, dnormed, dy);
  out[kX] = last.dx.view(in[kX].sizes());
  out[kNorm] = last.dgamma;
  return out;
}

Tensor FusedBlock::operator()(const Tensor& x) const {
  if (!at::GradMode::is_enabled()) return forward(x);
  variable_list matrices;
  for (const auto* side : {&adapters.input, &adapters.output}) {
    for (const Adapter& adapter : *side) {
      matrices.push_back(adapter.a);
      matrices.push_back(adapter.b);
    }
  }
  return FusedBlockNode::apply(x, block.norm.weight, block.input, block.output, at::TensorList(matrices), this);
}

}  // namespace palm
