// The fused kernels for one device and dtype, as a table of functions on raw pointers. If there is no table (float64, a
// device without kernels, `use_kernels(false)`), the ATen reference next to each kernel is used instead.
//
// A kernel processes rows, or tasks, begin … end − 1 of its arguments: on the CPU in pieces on several threads, on CUDA
// in a single launch.
#pragma once
#include <cstdint>

#include "kernels/decode-attention.h"
#include "kernels/token-kernels.h"

namespace palm {

enum class NormKind { layer, rms, l2 };                 // kernels/norm.h; no kernel computes l2
enum class Activation { silu, gelu, gelu_tanh, relu };  // kernels/activation.h

// Rows of `width` inside the rows of a matrix, such as heads: row r begins at (r / group) · stride + (r % group) ·
// width.
struct RowsWithin {
  int64_t group, stride;
};

// y = norm(x), rows of `width`.
struct NormArgs {
  const void* x;       // [rows, width]
  const void* weight;  // [width], or null
  const void* bias;    // [width], or null
  void* y;             // [rows, width]
  float* mean;         // [rows]; null for rms
  float* rstd;         // [rows]
  int64_t width;
  RowsWithin x_rows, y_rows;
  float eps, offset;  // the scale is weight + offset
  NormKind kind;      // layer or rms
};

// dx = residual + the gradient with respect to x.
struct NormGradArgs {
  const void* x;
  const void* weight;
  const float* mean;
  const float* rstd;
  const void* dy;        // rows like y
  const void* residual;  // rows like dx, or null
  void* dx;              // rows like x, possibly of a wider matrix; may be dy or residual
  float* dweight;        // [width], or [partial_sums, width] (see below); accumulated; null without weight
  float* dbias;          // likewise
  int64_t width;
  RowsWithin x_rows, dy_rows, dx_rows;
  float offset;
  NormKind kind;
};

// Rotates the first `width` dimensions of all heads of queries and keys in place: pairs (a, b) = (x[i], x[i + width /
// 2]) become (a cos − b sin, b cos + a sin).
struct RotateArgs {
  void* x;                             // rows [heads · head query | kv_heads · head key | …]
  int64_t stride;                      // elements from row to row
  const float *query_cos, *query_sin;  // [time, width / 2], including their scales
  const float *key_cos, *key_sin;      // [time, width / 2]
  int64_t time, heads, kv_heads;       // row r is at position r % time
  int64_t head, width;
  bool inverse;  // apply the transpose, for gradients
};

// y = up · activation(gate) if gated, else activation(up).
struct ActivationArgs {
  const void* x;  // rows [width up | width gate], or [width up]
  int64_t x_stride;
  void* y;  // rows [width]
  int64_t y_stride;
  int64_t width;
  Activation activation;
  bool gated;
};

struct ActivationGradArgs {
  const void* x;  // as above
  int64_t x_stride;
  const void* dy;
  int64_t dy_stride;
  void* dx;  // rows like x
  int64_t dx_stride;
  void* y;  // if not null, receives the forward output again; may be dy
  int64_t y_stride;
  int64_t width;
  Activation activation;
  bool gated;
};

// Causal attention of `heads` query heads over `kv_heads` heads of keys and values, each shared by heads / kv_heads
// consecutive query heads. A task is every `groups`-th tile of queries of one batch row and key head, so that all tasks
// cost about the same: task t belongs to the key head t / groups of all rows' key heads.
struct AttentionArgs {
  const void *query, *key, *value;                 // [batch, time, heads, head] and twice [batch, time, kv_heads, head]
  int64_t query_stride, key_stride, value_stride;  // elements from token to token
  void* out;                                       // like query
  int64_t out_stride;
  float* lse;  // [batch, time, heads]: logsumexp of a query's scores
  // [batch, time]: the first key each token attends to, non-decreasing along time; null: key 0
  const int64_t* first_key;
  int64_t batch, time, heads, kv_heads, head, groups;
  float scale;     // of the scores, > 0
  float* scratch;  // attention_scratch(args) floats per thread
};

struct AttentionGradArgs {
  AttentionArgs forward;
  const void* dout;  // like out
  int64_t dout_stride;
  void* dquery;  // like query
  int64_t dquery_stride;
  float *dkey, *dvalue;  // [batch, kv_heads, groups, time, head], to be summed over groups
};

// Log-softmax of rows of logits at one target each.
struct LogProbArgs {
  const void* logits;     // [rows, width]
  const int64_t* target;  // [rows]; negative: no target, log_prob 0
  float* log_prob;        // [rows]
  float* entropy;         // [rows], or null
  float* lse;             // [rows]
  int64_t width;
  float inverse_temperature;
};

// Replaces the logits by their gradient: ∂/∂z of Σ dlog_prob · log_prob + Σ dentropy · entropy.
struct LogProbGradArgs {
  void* logits;            // [rows, width], in place
  const int64_t* target;   // [rows]
  const float* lse;        // [rows]
  const float* entropy;    // [rows], or null
  const float* dlog_prob;  // [rows]
  const float* dentropy;   // [rows], or null
  int64_t width;
  float inverse_temperature;
};

// One AdamW step over a flat range (optim/adam-w.h). Changes nothing if *broken is not 0.
struct AdamWArgs {
  void* parameter;              // [n]
  const float* gradient;        // [n]
  float* weight;                // [n] float32 master; null if the parameter itself is float32
  float *exp_avg, *exp_avg_sq;  // [n]
  const float* step;            // [1], including this step
  const float* divisor;         // [1], divides the gradient
  const float* broken;          // [1]
  float lr, beta1, beta2, eps, weight_decay;
};

// Adds Σ x² of a range to *total.
struct SquaresArgs {
  const void* x;  // [n]
  double* total;  // [1], one per thread
};

struct Kernels {
  void (*norm)(const NormArgs&, int64_t begin, int64_t end);
  void (*norm_grad)(const NormGradArgs&, int64_t begin, int64_t end);
  void (*rotate)(const RotateArgs&, int64_t begin, int64_t end);
  void (*activation)(const ActivationArgs&, int64_t begin, int64_t end);
  void (*activation_grad)(const ActivationGradArgs&, int64_t begin, int64_t end);
  int64_t (*attention_scratch)(const AttentionArgs&);
  void (*attention)(const AttentionArgs&, int64_t begin, int64_t end);
  void (*attention_grad)(const AttentionGradArgs&, int64_t begin, int64_t end);
  void (*log_prob)(const LogProbArgs&, int64_t begin, int64_t end);
  void (*log_prob_grad)(const LogProbGradArgs&, int64_t begin, int64_t end);
  void (*adam_w)(const AdamWArgs&, int64_t begin, int64_t end);
  void (*squares)(const SquaresArgs&, int64_t begin, int64_t end);
  // 0: ranges are computed in pieces on the CPU's threads. Otherwise a single launch computes a whole range, and
  // reductions over rows leave this many partial sums.
  int64_t partial_sums = 0;
  TokenKernels token = {};  // null if there are no decoding kernels
  void (*decode_attention)(const DecodeAttentionArgs&, int64_t begin, int64_t end) = nullptr;  // CUDA only
};

}  // namespace palm
