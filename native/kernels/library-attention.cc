#include "kernels/library-attention.h"

#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include <limits>
#include <tuple>
#include <utility>

namespace palm {

using at::SDPBackend;

// The layout libtorch expects: [B, H, T, K] views of the rows. Keys and values have Kv heads or, if a backend does not
// support shared heads, each head H / Kv times.
struct Heads {
  Tensor query, key, value;
};

static Tensor heads_of(const Tensor& rows, int64_t batch, int64_t heads) {
  return rows.view({batch, rows.size(0) / batch, heads, rows.size(1) / heads}).transpose(1, 2);
}

static Heads heads_of(const AttentionRows& rows) {
  return {heads_of(rows.query, rows.batch, rows.heads), heads_of(rows.key, rows.batch, rows.kv_heads),
          heads_of(rows.value, rows.batch, rows.kv_heads)};
}

// A single head is expanded without a copy.
static Heads repeated(const Heads& heads) {
  const int64_t group = heads.query.size(1) / heads.key.size(1);
  const auto each = [&](const Tensor& x) {
    return x.unsqueeze(2).expand({-1, -1, group, -1, -1}).reshape({x.size(0), -1, x.size(2), x.size(3)});
  };
  return {heads.query, each(heads.key), each(heads.value)};
}

// Dropout is never used.
static SDPBackend choice(const Heads& heads, double scale) {
  const bool shared = heads.query.size(1) != heads.key.size(1);
  return static_cast<SDPBackend>(at::_fused_sdp_choice(heads.query, heads.key, heads.value, /*attn_mask=*/{},
                                                       /*dropout_p=*/0.0, /*is_causal=*/true, scale,
                                                       /*enable_gqa=*/shared));
}

// Fused kernels move 16 bytes at a time.
static bool aligned(const AttentionRows& rows) {
  const int64_t pack = 16 / static_cast<int64_t>(rows.query.element_size());
  const auto fits = [&](const Tensor& x) { return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0; };
  return fits(rows.query) && fits(rows.key) && fits(rows.value) && rows.query.stride(0) % pack == 0 &&
         rows.key.stride(0) % pack == 0 && rows.value.stride(0) % pack == 0 &&
         rows.key.size(1) / rows.kv_heads % 8 == 0;
}

// Shared heads of keys and values if a fused backend accepts them, otherwise a head for every query head.
static SDPBackend choose(const AttentionRows& rows, Heads& heads) {
  if (!rows.query.is_cuda() || !aligned(rows)) return SDPBackend::math;
  const SDPBackend first = choice(heads, rows.scale);
  if (first == SDPBackend::cudnn_attention || first == SDPBackend::flash_attention) return first;
  const Heads other = repeated(heads);
  const SDPBackend second = choice(other, rows.scale);
  if (second != SDPBackend::math) heads = other;
  return second;
}

// --- plain products in float32 ---------------------------------------------------------------------------------------

static Tensor scores(const Heads& heads, double scale) {
  const Tensor all = at::matmul(heads.query.to(at::kFloat) * scale, heads.key.to(at::kFloat).transpose(-2, -1));
  const Tensor hidden = at::ones({all.size(2), all.size(3)}, all.options().dtype(at::kBool)).triu(1);
  return all.masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

static std::pair<Tensor, Tensor> math_forward(const Heads& heads, double scale) {
  const Tensor score = scores(heads, scale), lse = score.logsumexp(-1);
  return {at::matmul((score - lse.unsqueeze(-1)).exp(), heads.value.to(at::kFloat)), lse};
}

// dV = Pᵀ dO,  dP = dO Vᵀ,  dS = scale P (dP − Σ P dP),  dQ = dS K,  dK = dSᵀ Q.
static Heads math_backward(const Heads& heads, double scale, const Tensor& lse, const Tensor& dout) {
  const Tensor p = (scores(heads, scale) - lse.unsqueeze(-1)).exp(), d = dout.to(at::kFloat);
  const Tensor dp = at::matmul(d, heads.value.to(at::kFloat).transpose(-2, -1));
  const Tensor dscore = p * (dp - (p * dp).sum(-1, /*keepdim=*/true)) * scale;
  return {at::matmul(dscore, heads.key.to(at::kFloat)),
          at::matmul(dscore.transpose(-2, -1), heads.query.to(at::kFloat)), at::matmul(p.transpose(-2, -1), d)};
}

// --- every backend ---------------------------------------------------------------------------------------------------

AttentionState library_attention_forward(const AttentionRows& rows, const Tensor& out) {
  if (rows.query.size(0) == 0) return {};
  Heads heads = heads_of(rows);
  AttentionState state;
  state.backend = choose(rows, heads);
  Tensor result;
  switch (state.backend) {
    case SDPBackend::cudnn_attention: {
      const auto all = at::_scaled_dot_product_cudnn_attention(heads.query, heads.key, heads.value, /*attn_bias=*/{},
                                                               /*compute_log_sumexp=*/true, 0.0, /*is_causal=*/true,
                                                               /*return_debug_mask=*/false, rows.scale);
      result = std::get<0>(all);
      state.lse = std::get<1>(all);
      state.seed = std::get<6>(all);
      state.offset = std::get<7>(all);
      break;
    }
    case SDPBackend::flash_attention: {
      const auto all =
          at::_scaled_dot_product_flash_attention(heads.query, heads.key, heads.value, 0.0,
                                                  /*is_causal=*/true, /*return_debug_mask=*/false, rows.scale);
      result = std::get<0>(all);
      state.lse = std::get<1>(all);
      state.seed = std::get<6>(all);
      state.offset = std::get<7>(all);
      break;
    }
    case SDPBackend::efficient_attention:
      std::tie(result, state.lse, state.seed, state.offset) =
          at::_scaled_dot_product_efficient_attention(heads.query, heads.key, heads.value, /*attn_bias=*/{},
                                                      /*compute_log_sumexp=*/true, 0.0, /*is_causal=*/true, rows.scale);
      break;
    default:
      heads = repeated(heads);
      std::tie(result, state.lse) = math_forward(heads, rows.scale);
      state.backend = SDPBackend::math;
  }
  state.shared_keys = heads.key.size(1) == rows.kv_heads;
  heads_of(out, rows.batch, rows.heads).copy_(result);
  const Tensor tokens = result.transpose(1, 2);  // [B, T, H, K]
  if (tokens.is_contiguous() && tokens.scalar_type() == out.scalar_type()) state.out = tokens.view(out.sizes());
  return state;
}

void library_attention_backward(const AttentionRows& rows, const Tensor& out, const AttentionState& state,
                                const Tensor& dout, const AttentionRows& grad) {
  if (rows.query.size(0) == 0) return;
  const Heads shared = heads_of(rows), heads = state.shared_keys ? shared : repeated(shared);
  // Always the same layout: cuDNN caches plans by the strides of queries, keys and values only, so a plan made for
  // other strides of the output would access wrong addresses.
  const Tensor o = heads_of(out.contiguous(), rows.batch, rows.heads),
               d = heads_of(dout.contiguous(), rows.batch, rows.heads);
  const int64_t time = heads.query.size(2);
  Heads found;
  switch (state.backend) {
    case SDPBackend::cudnn_attention:
      std::tie(found.query, found.key, found.value) = at::_scaled_dot_product_cudnn_attention_backward(
          d, heads.query, heads.key, heads.value, o, state.lse, state.seed, state.offset, /*attn_bias=*/{},
          /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, time, time, 0.0, /*is_causal=*/true, rows.scale);
      break;
    case SDPBackend::flash_attention:
      std::tie(found.query, found.key, found.value) = at::_scaled_dot_product_flash_attention_backward(
          d, heads.query, heads.key, heads.value, o, state.lse, /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, time, time, 0.0,
          /*is_causal=*/true, state.seed, state.offset, rows.scale);
      break;
    case SDPBackend::efficient_attention: {
      const auto all = at::_scaled_dot_product_efficient_attention_backward(
          d, heads.query, heads.key, heads.value, /*attn_bias=*/{}, o, state.lse, state.seed, state.offset, 0.0,
          {true, true, true, false}, /*is_causal=*/true, rows.scale);
      std::tie(found.query, found.key, found.value) = std::tie(std::get<0>(all), std::get<1>(all), std::get<2>(all));
      break;
    }
    default:
      found = math_backward(heads, rows.scale, state.lse, d);
  }
  const auto summed = [&](const Tensor& x) {
    return x.size(1) == rows.kv_heads ? x : x.unflatten(1, {rows.kv_heads, -1}).sum(2);
  };
  heads_of(grad.query, rows.batch, rows.heads).copy_(found.query);
  heads_of(grad.key, rows.batch, rows.kv_heads).copy_(summed(found.key));
  heads_of(grad.value, rows.batch, rows.kv_heads).copy_(summed(found.value));
}

std::string attention_backend_name(const at::TensorOptions& options) {
  constexpr int64_t kTime = 256, kHeads = 8, kHead = 64;
  const Tensor all = at::empty({kTime, (kHeads + 2) * kHead}, options);
  const AttentionRows rows{all.narrow(1, 0, kHeads * kHead),
                           all.narrow(1, kHeads * kHead, kHead),
                           all.narrow(1, (kHeads + 1) * kHead, kHead),
                           /*batch=*/1,
                           kHeads,
                           /*kv_heads=*/1,
                           /*scale=*/1};
  Heads heads = heads_of(rows);
  switch (choose(rows, heads)) {
    case SDPBackend::cudnn_attention:
      return "cudnn";
    case SDPBackend::flash_attention:
      return "flash";
    case SDPBackend::efficient_attention:
      return "efficient";
    default:
      return "math";
  }
}

}  // namespace palm
