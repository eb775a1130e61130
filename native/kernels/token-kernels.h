// Kernels that read one token a row: what decoding does between two draws. Weights and caches are packed in panels, so
// that a product with few rows streams them once, in order, and every accumulator stays in a register.
//
// An output's sum runs over the depth in order, whatever the number of rows: a row's result does not depend on its
// batch.
#pragma once
#include <cstdint>

namespace palm {

constexpr int64_t kPanel = 32;          // columns of a panel
constexpr int64_t kTokenRows = 48;      // rows that a kernel works on at once
constexpr int64_t kTokenColumns = 128;  // columns that it works on at once, where they are not of one head

// Elements of panels. A bfloat16 panel pairs its depth: [depth / 2][32][2], which is what dot products of pairs read.
enum class PanelType { float32, bfloat16, int8 };

// A matrix [columns, depth] as panels [depth][32] one after the other; what is missing at its edges is 0.
struct Panels {
  const void* data;
  const float* scale;  // [panels · 32]: factor of each column of int8; else null
  int64_t depth;
  int64_t count;   // panels
  int64_t stride;  // elements from panel to panel
  PanelType type;
};

// Where the element at (depth, column) of a panel lies.
static inline int64_t panel_index(bool pairs, int64_t depth, int64_t column) {
  return pairs ? depth / 2 * 2 * kPanel + column * 2 + depth % 2 : depth * kPanel + column;
}
// What a depth takes up in a panel.
static inline int64_t panel_depth(bool pairs, int64_t depth) { return pairs ? (depth + 1) / 2 * 2 : depth; }
static inline int64_t panels_of(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// y[rows, columns] = x · weightᵀ, or y += it, for panels begin … end − 1.
struct PackedProductArgs {
  const void* x;  // [rows, depth]
  int64_t x_stride;
  int64_t rows;
  Panels weight;
  void* y;
  int64_t y_stride;
  int64_t columns;  // of y; the last panel may be wider
  bool add;
  float* scratch;  // token_scratch(depth, 1) floats of the thread
};

// The keys and values of one layer, packed: a row's keys are panels of 32 positions, its values panels over positions.
struct TokenCache {
  void *keys, *values;
  int64_t key_stride, value_stride;  // elements from row to row
  int64_t capacity;                  // positions, a multiple of 32
};

// The input product of a block with all that follows from one column or one head: units begin … end − 1. Unit 0 … H − 1
// is a head's query, turned and scaled; H the key, H + 1 the value, both written to the cache; from H + 2 on 32 columns
// of the feed-forward, whose values and gates are neighbouring panels.
struct TokenProjectArgs {
  const void* h;  // [rows, dim]
  int64_t rows, dim;
  Panels weight;
  const void* down;  // [rows, 3 · rank]: h through the adapters of query, key and value; null without them
  int64_t rank;
  Panels up;  // their second halves, as many panels as units 0 … H + 1 have
  int64_t heads, head, ff;
  const int64_t* position;             // [rows]
  const float *query_cos, *query_sin;  // [positions, head / 2], with their scales
  const float *key_cos, *key_sin;
  void* query;         // [rows, heads · head]
  void* block_hidden;  // [rows, heads · head + ff]: the feed-forward's part is written
  TokenCache cache;
  float* scratch;  // token_scratch(dim, head)
};

// Attention of one token a row over what its row has stored, itself included. A task is some heads of a row: task t
// belongs to row t / groups.
struct TokenAttendArgs {
  const void* query;  // [rows, heads · head]
  int64_t heads, head, groups;
  const int64_t* position;  // [rows]
  TokenCache cache;
  void* block_hidden;  // [rows, block_hidden_stride]: the front is written
  int64_t block_hidden_stride;
  float* scratch;  // token_attend_scratch(heads, head, capacity)
};

// A draw from softmax(logits · inverse_temperature) for each row. Where a logit is not finite, the log-probability is
// NaN.
struct SampleArgs {
  const void* logits;  // [rows, width]
  int64_t width;
  float inverse_temperature;  // 0: the likeliest token, with log-probability 0
  const double* uniform;      // [rows] in [0, 1): where the draw lies in the cumulative distribution
  int64_t* token;             // [rows]
  float* log_prob;            // [rows]
};

struct TokenKernels {
  void (*product)(const PackedProductArgs&, int64_t begin, int64_t end);
  void (*project)(const TokenProjectArgs&, int64_t begin, int64_t end);
  void (*attend)(const TokenAttendArgs&, int64_t begin, int64_t end);
  void (*sample)(const SampleArgs&, int64_t begin, int64_t end);
};

// Floats of scratch that a thread needs: sums, and rows converted to float32.
static inline int64_t token_scratch(int64_t depth, int64_t head) {
  const int64_t wide = panels_of(head) * kPanel;
  return kTokenRows * ((wide > kTokenColumns ? wide : kTokenColumns) + depth + wide);
}
static inline int64_t token_attend_scratch(int64_t heads, int64_t head, int64_t capacity) {
  return heads * (capacity + panels_of(head) * kPanel + 1 + head);
}

}  // namespace palm
