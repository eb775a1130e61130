// The fused kernels of one device and dtype, as a table of functions on raw pointers. Where there is no table (float64,
// a device without kernels, `use_kernels(false)`), the ATen reference beside each kernel computes instead.
//
// A kernel works on the rows, or tasks, begin … end − 1 of its arguments; on the CPU pieces of the range run on several
// threads, on CUDA one launch takes it all.
#pragma once
#include <cstdint>

#include "kernels/decode-attention.h"
#include "kernels/token-kernels.h"

namespace palm {

// y = layer_norm(x), rows of `width`.
struct LayerNormArgs {
  const void* x;      // [rows, width]
  const void* gamma;  // [width]
  void* y;            // [rows, width]
  float* mean;        // [rows]
  float* rstd;        // [rows]
  int64_t width;
};

// dx = residual + what dy means for x.
struct LayerNormGradArgs {
  const void* x;         // [rows, width]
  const void* gamma;     // [width]
  const float* mean;     // [rows]
  const float* rstd;     // [rows]
  const void* dy;        // [rows, width]
  const void* residual;  // [rows, width], or null
  void* dx;              // [rows, width]; may be dy or residual
  float* dgamma;         // [width], or [partial_sums, width] (below); added to
  int64_t width;
};

// Turns queries and keys in place: pairs (a, b) = (x[i], x[i + head / 2]) become (a cos − b sin, b cos + a sin).
struct RotateArgs {
  void* x;                             // rows [heads · head query | head key | …]
  int64_t stride;                      // elements from row to row
  const float *query_cos, *query_sin;  // [time, head / 2], with their scales
  const float *key_cos, *key_sin;      // [time, head / 2]
  int64_t time, heads, head;           // row r is at position r % time
  bool inverse;                        // the transpose: what a gradient needs
};

// y = value · silu(gate).
struct SwigluArgs {
  const void* x;  // rows [width value | width gate]
  int64_t x_stride;
  void* y;  // rows [width]
  int64_t y_stride;
  int64_t width;
};

struct SwigluGradArgs {
  const void* x;  // as above
  int64_t x_stride;
  const void* dy;
  int64_t dy_stride;
  void* dx;  // rows like x
  int64_t dx_stride;
  void* y;  // the forward pass's output once more, or null; may be dy
  int64_t y_stride;
  int64_t width;
};

// Causal multi-query attention; queries come scaled. A task is every `groups`-th tile of queries of one row of the
// batch, so that all tasks cost about the same: task t belongs to row t / groups.
struct AttentionArgs {
  const void *query, *key, *value;  // [batch, time, heads, head], [batch, time, head] twice, in rows of one matrix
  int64_t stride;                   // elements from token to token of all three
  void* out;                        // [batch, time, heads, head]
  int64_t out_stride;
  float* lse;  // [batch, time, heads]: logsumexp of a query's scores
  // [batch, time]: the first key that a token sees, growing along time; null: all see their row's
  const int64_t* first_key;
  int64_t batch, time, heads, head, groups;
  float* scratch;  // attention_scratch(args) floats for each thread
};

struct AttentionGradArgs {
  AttentionArgs forward;
  const void* dout;  // like out
  int64_t dout_stride;
  void* dquery;  // like query
  int64_t dquery_stride;
  float *dkey, *dvalue;  // [batch, groups, time, head], to be summed over groups
};

// Softmax of rows of logits, read for one target each.
struct LogProbArgs {
  const void* logits;     // [rows, width]
  const int64_t* target;  // [rows]; negative: no target, log_prob 0
  float* log_prob;        // [rows]
  float* entropy;         // [rows], or null
  float* lse;             // [rows]
  int64_t width;
  float inverse_temperature;
};

// Overwrites logits with their gradient: ∂/∂z of Σ dlog_prob · log_prob + Σ dentropy · entropy.
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

// One AdamW step over a flat piece (optim/adam-w.h). Nothing moves where *broken is not 0.
struct AdamWArgs {
  void* parameter;              // [n]
  const float* gradient;        // [n]
  float* weight;                // [n] float32 master; null where the parameter is float32 itself
  float *exp_avg, *exp_avg_sq;  // [n]
  const float* step;            // [1], this step included
  const float* divisor;         // [1], of the gradient
  const float* broken;          // [1]
  float lr, beta1, beta2, eps, weight_decay;
};

// Adds Σ x² of a piece to *total.
struct SquaresArgs {
  const void* x;  // [n]
  double* total;  // [1], of the thread that runs the piece
};

struct Kernels {
  void (*layer_norm)(const LayerNormArgs&, int64_t begin, int64_t end);
  void (*layer_norm_grad)(const LayerNormGradArgs&, int64_t begin, int64_t end);
  void (*rotate)(const RotateArgs&, int64_t begin, int64_t end);
  void (*swiglu)(const SwigluArgs&, int64_t begin, int64_t end);
  void (*swiglu_grad)(const SwigluGradArgs&, int64_t begin, int64_t end);
  int64_t (*attention_scratch)(const AttentionArgs&);
  void (*attention)(const AttentionArgs&, int64_t begin, int64_t end);
  void (*attention_grad)(const AttentionGradArgs&, int64_t begin, int64_t end);
  void (*log_prob)(const LogProbArgs&, int64_t begin, int64_t end);
  void (*log_prob_grad)(const LogProbGradArgs&, int64_t begin, int64_t end);
  void (*adam_w)(const AdamWArgs&, int64_t begin, int64_t end);
  void (*squares)(const SquaresArgs&, int64_t begin, int64_t end);
  // 0: ranges are computed piece by piece on the CPU's threads. Else one launch takes a whole range, and where it adds
  // over rows it leaves this many partial sums.
  int64_t partial_sums = 0;
  TokenKernels token = {};  // null where decoding has no kernels of its own
  void (*decode_attention)(const DecodeAttentionArgs&, int64_t begin, int64_t end) = nullptr;  // CUDA's only
};

}  // namespace palm
