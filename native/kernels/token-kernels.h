// Kernels that process one token per row: everything decoding does between two samples, and reading a prompt, whose
// tokens are then rows of one sequence. Weights and caches are packed
// in panels, so that a product with few rows streams them once, in order, with every accumulator in a register.
//
// Each output is summed over the depth in order, whatever the number of rows: a row's result does not depend on its
// batch.
#pragma once
#include <cstdint>

namespace palm {

struct NormArgs;        // kernels.h, which includes this file
enum class Activation;  // likewise

constexpr int64_t kPanel = 32;          // columns per panel
constexpr int64_t kTokenRows = 48;      // max rows that a kernel processes at once
constexpr int64_t kTokenColumns = 128;  // max columns that it processes at once, unless they belong to one head

// Element type of panels. A bfloat16 panel stores pairs along the depth, [depth / 2][32][2], as pairwise dot products
// need.
enum class PanelType { float32, bfloat16, int8 };

// A matrix [columns, depth] as consecutive panels [depth][32], padded with 0.
struct Panels {
  const void* data;
  const float* scale;  // [panels · 32]: scale of each int8 column; null for other types
  const float* bias;   // [panels · 32]: added to each column of a product; or null
  int64_t depth;
  int64_t count;   // number of panels
  int64_t stride;  // elements from panel to panel
  PanelType type;
};

// The index of element (depth, column) in a panel.
static inline int64_t panel_index(bool pairs, int64_t depth, int64_t column) {
  return pairs ? depth / 2 * 2 * kPanel + column * 2 + depth % 2 : depth * kPanel + column;
}
// The depth of a panel, including padding.
static inline int64_t panel_depth(bool pairs, int64_t depth) { return pairs ? (depth + 1) / 2 * 2 : depth; }
static inline int64_t panels_of(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// y[rows, columns] = x · weightᵀ + bias, or y += share · (x · weightᵀ + bias), for panels begin … end − 1.
struct PackedProductArgs {
  const void* x;  // [rows, depth]
  int64_t x_stride;
  int64_t rows;
  Panels weight;
  void* y;
  int64_t y_stride;
  int64_t columns;  // of y; the last panel may have more
  bool add;
  float share;
  float* scratch;  // token_scratch(depth, 1) floats per thread
};

// The packed keys and values of one layer: a head's keys are panels of 32 positions, its values are panels over
// positions.
struct TokenCache {
  void *keys, *values;
  int64_t key_stride, value_stride;  // elements from head to head; a slot has all its heads side by side
  int64_t capacity;                  // positions, a multiple of 32
};

// The adapter on one piece of the input projection, which is a head or 32 columns of the feed-forward.
struct PieceAdapter {
  Panels up;       // B; data is null if the piece has no adapter
  int64_t panel;   // where the piece begins in it
  int64_t column;  // where the adapter begins in the rows of `down`
};

// The input projection of a block and everything that depends on only one head or column, for units begin … end − 1.
// Units 0 … H − 1 are the heads' queries, normalised and rotated. The next Kv are the keys, treated alike, and the next
// Kv the values, both written to the cache. Each unit from H + 2 Kv on is 32 columns of the feed-forward, whose values
// and gates are adjacent panels.
struct TokenProjectArgs {
  const void* h;
  int64_t rows, dim;
  Panels weight;
  const void* down;              // [rows, down_stride]: h times A of every adapter
  const PieceAdapter* adapters;  // one per piece: units of one piece are followed by those of values and gates; or null
  int64_t down_stride;
  int64_t heads, kv_heads, head, ff;
  Activation activation;
  bool gated;
  float clip;                             // queries, keys and values are clamped to ± this; 0: they are not
  const NormArgs *query_norm, *key_norm;  // of one head; null without norms
  int64_t norm_stride;                    // from head to head of their weights: 0 if all have the same
  int64_t turned;                         // dimensions of a head that rotate; 0 without rotary positions
  const int64_t *slot, *position;         // [rows]: where in the cache
  const float *query_cos, *query_sin;     // [positions, turned / 2], including their scales
  const float *key_cos, *key_sin;
  void* query;         // [rows, heads · head]
  void* block_hidden;  // [rows, heads · head + ff]: writes the feed-forward part
  TokenCache cache;
  float* scratch;  // token_scratch(dim, head)
};

// Attention of one token per row over the row's cached positions, including the token itself. A task is some heads of a
// row: task t belongs to row t / groups.
struct TokenAttendArgs {
  const void* query;  // [rows, heads · head]
  int64_t heads, kv_heads, head, groups;
  const int64_t *slot, *position;  // [rows]
  int64_t window;                  // the last positions that a token attends to, itself included; 0: to all
  float scale;                     // of the scores, > 0
  TokenCache cache;
  void* block_hidden;  // [rows, block_hidden_stride]: writes the attention part
  int64_t block_hidden_stride;
  float* scratch;  // token_attend_scratch(heads, head, capacity)
};

// Samples from softmax(logits · inverse_temperature) for each row. If any logit is not finite, the log-probability is
// NaN.
struct SampleArgs {
  const void* logits;  // [rows, width]
  int64_t width;
  float inverse_temperature;  // 0: the most likely token, with log-probability 0
  const double* uniform;      // [rows] in [0, 1): position of the sample in the cumulative distribution
  int64_t* token;             // [rows]
  float* log_prob;            // [rows]
};

// How likely the tokens of each row are, relative to the likeliest.
struct WeighArgs {
  const void* logits;  // [rows, width]
  int64_t width;
  float inverse_temperature;
  float* weights;  // [rows, width]: e^((logit − top) · inverse_temperature)
  float* top;      // [rows]: the largest logit; NaN if any logit is not finite
};

struct TokenKernels {
  void (*product)(const PackedProductArgs&, int64_t begin, int64_t end);
  void (*project)(const TokenProjectArgs&, int64_t begin, int64_t end);
  void (*attend)(const TokenAttendArgs&, int64_t begin, int64_t end);
  void (*sample)(const SampleArgs&, int64_t begin, int64_t end);
  void (*weigh)(const WeighArgs&, int64_t begin, int64_t end);
};

// Floats of scratch per thread: sums, and rows converted to float32.
static inline int64_t token_scratch(int64_t depth, int64_t head) {
  const int64_t wide = panels_of(head) * kPanel;
  return kTokenRows * ((wide > kTokenColumns ? wide : kTokenColumns) + depth + wide);
}
static inline int64_t token_attend_scratch(int64_t heads, int64_t head, int64_t capacity) {
  return heads * (capacity + panels_of(head) * kPanel + 1 + head);
}

}  // namespace palm
