#include "model/fast/sequential-block.h"

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
#include "model/fast/features.h"
#include "model/kv-cache.h"

namespace palm {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const char* SequentialBlock::unsupported(const DecoderDescription& decoder) {
  const auto is_l2 = [](const NormDescription& norm) { return norm.kind == NormKind::l2; };
  const auto flips = [](const LayerDescription& layer) { return layer.scale <= 0; };
  return first_present(
      {{decoder.parallel, "parallel blocks"},
       norms_elsewhere(decoder),
       {decoder.residual_from_norm, "residuals of normed inputs"},
       {decoder.residual_scale != 1, "a scale of residuals"},
       {is_l2(decoder.norm), "l2 norms"},
       {!decoder.alibi.empty(), "alibi"},
       {decoder.softcap.has_value(), "soft caps of scores"},
       {decoder.clip_qkv.has_value(), "clipped queries"},
       {decoder.qk_norm && decoder.qk_norm->over != QkNormOver::head, "norms of queries with weights for every head"},
       {decoder.qk_norm && is_l2(decoder.qk_norm->norm), "l2 norms of queries"},
       {std::ranges::any_of(decoder.layers, flips), "scores with a negative scale"}});
}

// Intermediate results of the forward pass, most of which the backward pass needs. Rows are the B·T tokens.
struct SequentialActivations {
  Normed norm;                  // y [M, D]
  Tensor projected;             // [M, HK + 2 KvK]: query | key | value
  Tensor turned;                // [M, HK + KvK]: queries and keys as attention sees them, a part of `projected` if
                                // they have no norms
  Normed query_norm, key_norm;  // undefined without norms; y is a part of `turned`
  Tensor attended;              // [M, HK]
  AttentionState attention;
  Tensor middle;   // [M, D]
  Normed ff_norm;  // y [M, D]
  Tensor ff;       // [M, F or 2F]: up | gate
  Tensor fed;      // [M, F]
};

// One call of a block: its forward and backward passes over rows.
struct SequentialRows {
  const SequentialBlock& self;
  int64_t batch;
  const Kernels& kernels = self.kernels;
  const DecoderDescription& decoder = self.decoder;
  const Block& block = self.tensors.block;
  const LayerAdapters& adapters = self.tensors.adapters;

  SequentialActivations activations(const Tensor& x) const;
  Tensor output(const SequentialActivations& now) const {
    return add_output(now.middle, now.fed, decoder.query_width(), block.ff_output_bias);
  }
  // Recomputes what `now` lacks.
  SequentialActivations completed(SequentialActivations now, const Tensor& x) const;
  // Fills `gradient`, returns dx.
  Tensor backward(const Tensor& x, const SequentialActivations& now, const Tensor& dy, BlockTensors& gradient) const;

 private:
  void attend(SequentialActivations& now) const;
  void turn(const Tensor& turned, bool inverse) const;
  AttentionRows attention(const Tensor& turned, const Tensor& projected) const;
  Tensor project(const Tensor& h, int64_t first, int64_t count, const Tensor& bias) const;
  Tensor project_backward(const Tensor& h, const Tensor& dy, int64_t first, const Tensor& bias, Tensor& dbias,
                          BlockTensors& gradient) const;
  Tensor add_output(const Tensor& residual, const Tensor& part, int64_t first, const Tensor& bias) const;
  Tensor output_backward(const Tensor& part, const Tensor& dy, int64_t first, const Tensor& bias, Tensor& dbias,
                         BlockTensors& gradient) const;
  Tensor attend_backward(const SequentialActivations& now, const Tensor& dattended, BlockTensors& gradient) const;
  Tensor feed_forward_backward(const SequentialActivations& now, const Tensor& dy, BlockTensors& gradient) const;

  Tensor queries(const Tensor& rows) const { return rows.narrow(1, 0, decoder.query_width()); }
  Tensor keys(const Tensor& rows) const { return rows.narrow(1, decoder.query_width(), decoder.key_width()); }
  Tensor values(const Tensor& rows) const {
    return rows.narrow(1, decoder.query_width() + decoder.key_width(), decoder.key_width());
  }
  bool within(const Adapter& adapter, int64_t first, int64_t count) const {
    return adapter.first >= first && adapter.first < first + count;
  }
};

// --- forward ---------------------------------------------------------------------------------------------------------

// h times the rows first … first + count − 1 of `input`, with bias and adapters.
Tensor SequentialRows::project(const Tensor& h, int64_t first, int64_t count, const Tensor& bias) const {
  const Tensor weight = block.input.narrow(0, first, count).t();
  Tensor y = bias.defined() ? at::addmm(bias, h, weight) : at::mm(h, weight);
  for (const Adapter& adapter : adapters.input)
    if (within(adapter, first, count))
      y.narrow(1, adapter.first - first, adapter.count).addmm_(adapter.down(h), adapter.b);
  return y;
}

// residual + `part` times its columns of `output`, which begin with `first`, with bias and adapters. The residual, which
// is the largest, comes last: each sum rounds as coarsely as its result is large.
Tensor SequentialRows::add_output(const Tensor& residual, const Tensor& part, int64_t first, const Tensor& bias) const {
  const Tensor weight = block.output.narrow(1, first, part.size(1)).t();
  if (!bias.defined() && adapters.output.empty()) return at::addmm(residual, part, weight);
  Tensor y = bias.defined() ? at::addmm(bias, part, weight) : at::mm(part, weight);
  for (const Adapter& adapter : adapters.output)
    if (within(adapter, first, part.size(1)))
      y.addmm_(adapter.down(part.narrow(1, adapter.first - first, adapter.count)), adapter.b);
  return y.add_(residual);
}

void SequentialRows::turn(const Tensor& turned, bool inverse) const {
  if (!self.rotary.key_cos.defined()) return;
  rotate_rows(kernels, turned, self.rotary, {decoder.heads, decoder.kv_heads, decoder.dim_head}, inverse);
}

AttentionRows SequentialRows::attention(const Tensor& turned, const Tensor& projected) const {
  return {.query = queries(turned),
          .key = keys(turned),
          .value = values(projected),
          .batch = batch,
          .heads = decoder.heads,
          .kv_heads = decoder.kv_heads,
          .scale = self.scale,
          .first_key = self.first_key};
}

// From `projected` to `attended`.
void SequentialRows::attend(SequentialActivations& now) const {
  const int64_t width = decoder.query_width() + decoder.key_width();
  if (decoder.qk_norm) {
    const NormDescription& norm = decoder.qk_norm->norm;
    now.turned = at::empty({now.projected.size(0), width}, now.projected.options());
    now.query_norm =
        norm_forward(kernels, queries(now.projected), block.query_norm, norm, queries(now.turned), decoder.heads);
    now.key_norm = norm_forward(kernels, keys(now.projected), block.key_norm, norm, keys(now.turned), decoder.kv_heads);
  } else {
    now.turned = now.projected.narrow(1, 0, width);
  }
  now.attended = at::empty({now.projected.size(0), decoder.query_width()}, now.projected.options());
  if (self.attend)
    return (*self.attend)(self.layer, queries(now.turned), keys(now.turned), values(now.projected), now.attended);
  turn(now.turned, /*inverse=*/false);
  const AttentionRows rows = attention(now.turned, now.projected);
  if (self.cache) {
    const auto by_head = [&](const Tensor& x) {  // [B, Kv, T, K]
      return x.unflatten(0, {batch, -1}).unflatten(-1, {decoder.kv_heads, -1}).transpose(1, 2);
    };
    self.cache->append(self.layer, by_head(rows.key), by_head(rows.value));
  }
  now.attention = attention_forward(kernels, rows, now.attended);
}

SequentialActivations SequentialRows::activations(const Tensor& x) const {
  SequentialActivations now;
  now.norm = norm_forward(kernels, x, block.norm, decoder.norm);
  now.projected = project(now.norm.y, 0, decoder.qkv_width(), block.qkv_bias);
  attend(now);
  now.middle = add_output(x, now.attended, 0, block.output_bias);
  now.ff_norm = norm_forward(kernels, now.middle, block.ff_norm, decoder.norm);
  now.ff = project(now.ff_norm.y, decoder.qkv_width(), decoder.ff_width(), block.ff_bias);
  now.fed = at::empty({x.size(0), decoder.ff}, x.options());
  activation_forward(kernels, decoder.activation, now.ff, now.fed);
  return now;
}

Tensor SequentialBlock::forward(const Tensor& x, SequentialActivations* kept) const {
  const SequentialRows rows{.self = *this, .batch = x.size(0)};
  SequentialActivations now = rows.activations(x.flatten(0, 1).contiguous());
  const Tensor y = rows.output(now).view(x.sizes());
  if (kept) *kept = std::move(now);
  return y;
}

// --- backward --------------------------------------------------------------------------------------------------------

// Without what `recompute` gives up.
static SequentialActivations kept_of(SequentialActivations now, Recompute recompute) {
  if (recompute == Recompute::full) return {};
  if (recompute == Recompute::selective) {
    now.norm.y.reset();
    now.ff_norm.y.reset();
    now.fed.reset();
  }
  now.attention.out.reset();
  return now;
}

SequentialActivations SequentialRows::completed(SequentialActivations now, const Tensor& x) const {
  if (!now.projected.defined()) return activations(x);
  if (now.fed.defined()) return now;
  now.norm.y = norm_forward(kernels, x, block.norm, decoder.norm).y;
  now.ff_norm.y = norm_forward(kernels, now.middle, block.ff_norm, decoder.norm).y;
  now.fed = at::empty({x.size(0), decoder.ff}, x.options());
  activation_forward(kernels, decoder.activation, now.ff, now.fed);
  return now;
}

// Where the gradient of a whole weight goes, whose parts are written one after the other.
static const Tensor& whole(Tensor& gradient, const Tensor& weight) {
  const at::ScalarType precise = weight.scalar_type() == at::kBFloat16 ? at::kFloat : weight.scalar_type();
  if (!gradient.defined()) gradient = at::empty(weight.sizes(), weight.options().dtype(precise));
  return gradient;
}

static Tensor bias_gradient(const Tensor& dy, const Tensor& bias) {
  return bias.defined() && bias.requires_grad() ? dy.sum(at::IntArrayRef{0}, /*keepdim=*/false, at::kFloat) : Tensor();
}

// The gradient of h in project(h), given that of its result.
Tensor SequentialRows::project_backward(const Tensor& h, const Tensor& dy, int64_t first, const Tensor& bias,
                                        Tensor& dbias, BlockTensors& gradient) const {
  const int64_t count = dy.size(1);
  const Tensor dh = at::mm(dy, block.input.narrow(0, first, count));
  dbias = bias_gradient(dy, bias);
  if (block.input.requires_grad())
    write_weight_gradient(whole(gradient.block.input, block.input).narrow(0, first, count), dy, h);
  for (size_t i = 0; i < adapters.input.size(); ++i) {
    const Adapter& adapter = adapters.input[i];
    if (within(adapter, first, count))
      gradient.adapters.input[i] = adapter_gradient(h, dy.narrow(1, adapter.first - first, adapter.count), adapter, dh);
  }
  return dh;
}

// The gradient of `part` in add_output(residual, part), given that of its result.
Tensor SequentialRows::output_backward(const Tensor& part, const Tensor& dy, int64_t first, const Tensor& bias,
                                       Tensor& dbias, BlockTensors& gradient) const {
  const int64_t count = part.size(1);
  const Tensor dpart = at::mm(dy, block.output.narrow(1, first, count));
  dbias = bias_gradient(dy, bias);
  if (block.output.requires_grad())
    write_weight_gradient(whole(gradient.block.output, block.output).narrow(1, first, count), dy, part);
  for (size_t i = 0; i < adapters.output.size(); ++i) {
    const Adapter& adapter = adapters.output[i];
    if (!within(adapter, first, count)) continue;
    const auto columns = [&](const Tensor& all) { return all.narrow(1, adapter.first - first, adapter.count); };
    gradient.adapters.output[i] = adapter_gradient(columns(part), dy, adapter, columns(dpart));
  }
  return dpart;
}

static void take(Norm& gradient, const NormGrad& found) { gradient = {found.dweight, found.dbias}; }

// From the gradient of `attended` to that of `projected`.
Tensor SequentialRows::attend_backward(const SequentialActivations& now, const Tensor& dattended,
                                       BlockTensors& gradient) const {
  const Tensor dprojected = at::empty_like(now.projected);
  const Tensor dturned = decoder.qk_norm ? at::empty_like(now.turned) : dprojected.narrow(1, 0, now.turned.size(1));
  attention_backward(kernels, attention(now.turned, now.projected), now.attended, now.attention, dattended,
                     attention(dturned, dprojected));
  turn(dturned, /*inverse=*/true);
  if (!decoder.qk_norm) return dprojected;
  const NormDescription& norm = decoder.qk_norm->norm;
  take(gradient.block.query_norm,
       norm_backward(kernels, queries(now.projected), block.query_norm, norm, now.query_norm, queries(dturned),
                     /*residual=*/{}, queries(dprojected), decoder.heads));
  take(gradient.block.key_norm, norm_backward(kernels, keys(now.projected), block.key_norm, norm, now.key_norm,
                                              keys(dturned), /*residual=*/{}, keys(dprojected), decoder.kv_heads));
  return dprojected;
}

// From the gradient of the block's result to that of `middle`.
Tensor SequentialRows::feed_forward_backward(const SequentialActivations& now, const Tensor& dy,
                                             BlockTensors& gradient) const {
  Block& d = gradient.block;
  const Tensor dfed =
      output_backward(now.fed, dy, decoder.query_width(), block.ff_output_bias, d.ff_output_bias, gradient);
  const Tensor dff = at::empty_like(now.ff);
  activation_backward(kernels, decoder.activation, now.ff, dfed, dff);
  const Tensor dh = project_backward(now.ff_norm.y, dff, decoder.qkv_width(), block.ff_bias, d.ff_bias, gradient);
  const NormGrad last = norm_backward(kernels, now.middle, block.ff_norm, decoder.norm, now.ff_norm, dh, dy);
  take(d.ff_norm, last);
  return last.dx;
}

Tensor SequentialRows::backward(const Tensor& x, const SequentialActivations& now, const Tensor& dy,
                                BlockTensors& gradient) const {
  Block& d = gradient.block;
  const Tensor dmiddle = feed_forward_backward(now, dy, gradient);
  const Tensor dattended = output_backward(now.attended, dmiddle, 0, block.output_bias, d.output_bias, gradient);
  const Tensor dprojected = attend_backward(now, dattended, gradient);
  const Tensor dh = project_backward(now.norm.y, dprojected, 0, block.qkv_bias, d.qkv_bias, gradient);
  const NormGrad last = norm_backward(kernels, x, block.norm, decoder.norm, now.norm, dh, dmiddle);
  take(d.norm, last);
  return last.dx;
}

// State for the backward pass in addition to the saved inputs.
struct SavedSequential : torch::CustomClassHolder {
  SavedSequential(const SequentialBlock& block, int64_t rows_of_batch, SequentialActivations activations)
      : decoder(block.decoder),
        places(block.tensors),
        self{.kernels = block.kernels,
             .decoder = decoder,
             .tensors = {},
             .scale = block.scale,
             .rotary = block.rotary,
             .first_key = block.first_key},
        batch(rows_of_batch),
        now(kept_of(std::move(activations), decoder.recompute)) {}

  const DecoderDescription decoder;
  const BlockPlaces places;
  const SequentialBlock self;  // without its tensors, which the node saves
  const int64_t batch;
  const SequentialActivations now;
};

// Its inputs are x and the tensors of the block.
struct SequentialBlockNode : torch::autograd::Function<SequentialBlockNode> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, at::TensorList tensors, const SequentialBlock* self) {
    SequentialActivations now;
    const Tensor y = self->forward(x, &now);
    variable_list inputs = {x};
    inputs.insert(inputs.end(), tensors.begin(), tensors.end());
    ctx->save_for_backward(inputs);
    ctx->saved_data["now"] =
        at::IValue::make_capsule(c10::make_intrusive<SavedSequential>(*self, x.size(0), std::move(now)));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list in = ctx->get_saved_variables();
    const auto holder = ctx->saved_data["now"].toCapsule();
    ctx->saved_data.erase("now");  // free activations with this node, not with the loss that holds the graph
    const SavedSequential& saved = static_cast<const SavedSequential&>(*holder);
    SequentialBlock self = saved.self;
    self.tensors = saved.places.filled(in, 1);
    const SequentialRows rows{.self = self, .batch = saved.batch};
    const Tensor x = in[0].flatten(0, 1).contiguous(), dy = grads[0].flatten(0, 1).contiguous();
    BlockTensors gradient = saved.places.empty();
    const Tensor dx = rows.backward(x, rows.completed(saved.now, x), dy, gradient);
    variable_list out = {dx.view(in[0].sizes())};
    const variable_list others = saved.places.flat(gradient);
    out.insert(out.end(), others.begin(), others.end());
    out.emplace_back();  // of the pointer
    return out;
  }
};

Tensor SequentialBlock::operator()(const Tensor& x) const {
  if (!at::GradMode::is_enabled()) return forward(x);
  return SequentialBlockNode::apply(x, at::TensorList(defined_tensors(tensors)), this);
}

}  // namespace palm
