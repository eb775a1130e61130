#include "model/fast/fused-block.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "kernels/activation.h"
#include "kernels/causal-attention.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "model/fast/block-tensors.h"
#include "model/fast/features.h"
#include "model/kv-cache.h"

namespace palm {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const char* FusedBlock::unsupported(const DecoderDescription& decoder) {
  const auto like_first = [&](const LayerDescription& layer) {
    return layer.window == 0 && layer.rope == 0 && layer.scale == decoder.layers.front().scale;
  };
  const bool turns = !decoder.ropes.empty() && std::ranges::all_of(decoder.layers, like_first);
  const bool turns_whole = turns && decoder.ropes.front().width() == decoder.dim_head;
  return first_present({{!decoder.parallel, "sequential blocks"},
                        {!decoder.alibi.empty(), "alibi"},
                        {decoder.softcap.has_value(), "soft caps of scores"},
                        {decoder.clip_qkv.has_value(), "clipped queries"},
                        {decoder.qk_norm.has_value(), "parallel blocks with norms of queries"},
                        {!decoder.shared_norm, "parallel blocks with two norms"},
                        {!is_centred(decoder.norm), "parallel blocks with a norm of another kind"},
                        {decoder.qkv_bias || decoder.output_bias || decoder.ff_bias, "parallel blocks with biases"},
                        {!decoder.gated || decoder.activation != Activation::silu, "parallel blocks without SwiGLU"},
                        {decoder.kv_heads != 1, "parallel blocks with several heads of keys"},
                        {!turns_whole, "parallel blocks whose heads do not rotate alike"},
                        {decoder.residual_scale != 1, "a scale of residuals"}});
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
  TurningHeads turning() const { return {decoder.heads, 1, decoder.dim_head}; }
  AttentionRows attention(const Tensor& projected) const {
    return {.query = projected.narrow(1, 0, decoder.query_width()),
            .key = projected.narrow(1, decoder.query_width(), decoder.dim_head),
            .value = projected.narrow(1, decoder.query_width() + decoder.dim_head, decoder.dim_head),
            .batch = batch,
            .heads = decoder.heads,
            .kv_heads = 1,
            .scale = 1,  // in the rotary tables
            .first_key = sequence_start};
  }
};

// Intermediate results of the forward pass, most of which the backward pass needs.
struct Activations {
  Normed norm;          // y [M, D]
  Tensor projected;     // [M, HK + 2K + 2F], queries and keys rotated
  Tensor block_hidden;  // [M, HK + F]
  AttentionState attention;
};

// From `projected` to the attended part of `block_hidden`.
static void attend(const FusedBlock& self, const BlockRows& rows, Activations& now) {
  const AttentionRows read = rows.attention(now.projected);
  const Tensor attended = rows.attended(now.block_hidden);
  if (self.attend) return (*self.attend)(self.layer, read.query, read.key, read.value, attended);
  rotate_rows(self.kernels, now.projected, self.rotary, rows.turning(), /*inverse=*/false);
  if (self.cache) {
    const auto by_row = [&](const Tensor& x) { return x.unflatten(0, {rows.batch, -1}).unsqueeze(1); };  // [B, 1, T, K]
    self.cache->append(self.layer, by_row(read.key), by_row(read.value));
  }
  now.attention = attention_forward(self.kernels, read, attended);
}

static Activations activations(const FusedBlock& self, const BlockRows& rows, const Tensor& x) {
  Activations now;
  now.norm = norm_forward(self.kernels, x, self.block.norm, self.decoder.norm);
  now.projected = at::mm(now.norm.y, self.block.input.t());
  const int64_t width = self.decoder.qkv_width();
  if (const Tensor added = self.adapters.added(now.norm.y, 0, width); added.defined())
    now.projected.narrow(1, 0, width).add_(added);
  now.block_hidden = at::empty({x.size(0), self.decoder.hidden_width()}, x.options());
  attend(self, rows, now);
  activation_forward(self.kernels, Activation::silu, rows.gates(now.projected), rows.fed_forward(now.block_hidden));
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

// State for the backward pass in addition to the saved inputs.
struct Saved : torch::CustomClassHolder {
  Saved(const FusedBlock& self, int64_t rows_of_batch, Activations activations)
      : kernels(self.kernels),
        decoder(self.decoder),
        rotary(self.rotary),
        sequence_start(self.sequence_start),
        batch(rows_of_batch),
        places({self.block, self.adapters}),
        now(std::move(activations)) {
    if (decoder.recompute == Recompute::full) now = {};
    if (decoder.recompute == Recompute::selective) {
      now.norm.y.reset();
      // Most of `block_hidden` is the feed-forward part, which activation_backward recomputes from `projected`.
      const Tensor& out = now.attention.out;
      now.block_hidden = out.defined() ? out : now.block_hidden.narrow(1, 0, decoder.query_width()).contiguous();
    }
    now.attention.out.reset();
  }

  Activations restored(const FusedBlock& self, const BlockRows& rows, const Tensor& x) const {
    if (decoder.recompute == Recompute::full) return activations(self, rows, x);
    if (decoder.recompute == Recompute::none) return now;
    Activations all = now;
    all.norm.y = norm_forward(kernels, x, self.block.norm, decoder.norm).y;
    return all;
  }

  const Kernels& kernels;
  const DecoderDescription decoder;
  const RotaryTables rotary;
  const Tensor sequence_start;
  const int64_t batch;
  const BlockPlaces places;
  Activations now;
};

// Its inputs are x and the tensors of the block.
struct FusedBlockNode : torch::autograd::Function<FusedBlockNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, at::TensorList tensors, const FusedBlock* self) {
    Activations now;
    const Tensor y = self->forward(x, &now);
    variable_list inputs = {x};
    inputs.insert(inputs.end(), tensors.begin(), tensors.end());
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
  const auto [block, adapters] = saved.places.filled(in, 1);
  const FusedBlock self{.kernels = saved.kernels,
                        .decoder = saved.decoder,
                        .block = block,
                        .adapters = adapters,
                        .rotary = saved.rotary,
                        .sequence_start = saved.sequence_start};
  const BlockRows rows{.decoder = saved.decoder, .batch = saved.batch, .sequence_start = saved.sequence_start};
  const Tensor x = in[0].flatten(0, 1).contiguous(), dy = grads[0].flatten(0, 1).contiguous();
  const Activations now = saved.restored(self, rows, x);
  BlockTensors gradient = saved.places.empty();

  const Tensor dblock_hidden = at::mm(dy, block.output);
  const Tensor attended = rows.attended(now.block_hidden), dattended = rows.attended(dblock_hidden);
  for (size_t i = 0; i < adapters.output.size(); ++i) {
    const Adapter& adapter = adapters.output[i];
    const auto columns = [&](const Tensor& all) { return all.narrow(1, adapter.first, adapter.count); };
    gradient.adapters.output[i] = adapter_gradient(columns(attended), dy, adapter, columns(dattended));
  }

  const Tensor dprojected = at::empty_like(now.projected);
  attention_backward(self.kernels, rows.attention(now.projected), attended, now.attention, dattended,
                     rows.attention(dprojected));
  // If only the attention part of `block_hidden` was kept, the whole is rebuilt in the memory of its gradient, which is
  // no longer needed then.
  const bool kept = now.block_hidden.sizes() == dblock_hidden.sizes();
  activation_backward(self.kernels, Activation::silu, rows.gates(now.projected), rows.fed_forward(dblock_hidden),
                      rows.gates(dprojected), kept ? Tensor() : rows.fed_forward(dblock_hidden));
  if (block.output.requires_grad()) {
    if (!kept) dattended.copy_(attended);
    gradient.block.output = weight_gradient(dy, kept ? now.block_hidden : dblock_hidden);
  }
  rotate_rows(self.kernels, dprojected, self.rotary, rows.turning(), /*inverse=*/true);

  const Tensor dnormed = at::mm(dprojected, block.input);
  if (block.input.requires_grad()) gradient.block.input = weight_gradient(dprojected, now.norm.y);
  for (size_t i = 0; i < adapters.input.size(); ++i) {
    const Adapter& adapter = adapters.input[i];
    gradient.adapters.input[i] =
        adapter_gradient(now.norm.y, dprojected.narrow(1, adapter.first, adapter.count), adapter, dnormed);
  }
  const NormGrad last =
      norm_backward(self.kernels, x, block.norm, self.decoder.norm, now.norm, dnormed, /*residual=*/dy);
  gradient.block.norm.weight = last.dweight;
  variable_list out = {last.dx.view(in[0].sizes())};
  const variable_list others = saved.places.flat(gradient);
  out.insert(out.end(), others.begin(), others.end());
  out.emplace_back();  // of the pointer
  return out;
}

Tensor FusedBlock::operator()(const Tensor& x) const {
  if (!at::GradMode::is_enabled()) return forward(x);
  return FusedBlockNode::apply(x, at::TensorList(defined_tensors({block, adapters})), this);
}

}  // namespace palm
