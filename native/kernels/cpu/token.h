// Decoding one token per row: the input product with its epilogues, attention over a packed cache, and sampling.
#pragma once
#include "kernels/cpu/attention.h"
#include "kernels/cpu/packed-product.h"

namespace palm::cpu::PALM_ISA {

// Rounds a value to the model's dtype, as happens between two products.
template <class T>
static inline Vec rounded(Vec x) {
  T lanes[kLanes];
  store(lanes, x);
  return load(lanes);
}

template <class T>
struct TokenUnits {
  const TokenProjectArgs& args;
  int64_t head_panels = panels_of(args.head);
  int64_t ld;  // row stride of the sums

  int64_t heads_end() const { return args.heads + 2; }
  int64_t panels(int64_t unit) const { return unit < heads_end() ? head_panels : 2; }
  int64_t first_panel(int64_t unit) const {
    const int64_t last = heads_end();
    return unit < last ? unit * head_panels : last * head_panels + (unit - last) * 2;
  }

  // Adds the output of the query, key or value adapter for rows first … first + rows − 1.
  void adapt(int64_t unit, int64_t first, int64_t rows, float* own, float* converted, float* more) const {
    const int64_t which = unit < args.heads ? 0 : unit - args.heads + 1, wide = head_panels * kPanel;
    const T* const down = static_cast<const T*>(args.down) + first * 3 * args.rank + which * args.rank;
    packed_product(rows, down, 3 * args.rank, args.up, unit * head_panels, head_panels, more, wide, converted);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < wide; i += kLanes)
        store(own + r * ld + i, rounded<T>(load(own + r * ld + i)) + load(more + r * wide + i));
  }

  // to [head] = the sums of one row, rotated to its position.
  void turn(T* to, const float* from, const float* cos, const float* sin) const {
    each(args.head, [&](int64_t i, int64_t n) { store(to + i, load(from + i), n); });
    rotate_head(to, cos, sin, args.head / 2, 1.0f);
  }

  void query(int64_t unit, int64_t first, int64_t rows, const float* own) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = first + r, at = args.position[row] * (args.head / 2);
      T* const to = static_cast<T*>(args.query) + (row * args.heads + unit) * args.head;
      turn(to, own + r * ld, args.query_cos + at, args.query_sin + at);
    }
  }

  void key(int64_t first, int64_t rows, const float* own, float* turned) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = first + r, position = args.position[row], at = position * (args.head / 2);
      T* const from = reinterpret_cast<T*>(turned);
      turn(from, own + r * ld, args.key_cos + at, args.key_sin + at);
      T* const panel = static_cast<T*>(args.cache.keys) + row * args.cache.key_stride +
                       position / kPanel * kPanel * panel_depth(kPairs<T>, args.head);
      for (int64_t k = 0; k < args.head; ++k) panel[panel_index(kPairs<T>, k, position % kPanel)] = from[k];
    }
  }

  void value(int64_t first, int64_t rows, const float* own) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = first + r, position = args.position[row];
      T* const panels = static_cast<T*>(args.cache.values) + row * args.cache.value_stride;
      for (int64_t k = 0; k < args.head; ++k) {
        T* const panel = panels + k / kPanel * kPanel * args.cache.capacity;
        store(panel + panel_index(kPairs<T>, position, k % kPanel), all(own[r * ld + k]), 1);
      }
    }
  }

  // own: 32 values followed by their gates.
  void feed_forward(int64_t unit, int64_t first, int64_t rows, const float* own) const {
    const int64_t column = (unit - heads_end()) * kPanel, left = args.ff - column;
    const int64_t stride = args.heads * args.head + args.ff;
    for (int64_t r = 0; r < rows; ++r) {
      T* const to = static_cast<T*>(args.block_hidden) + (first + r) * stride + args.heads * args.head + column;
      each(left < kPanel ? left : kPanel, [&](int64_t i, int64_t n) {
        const Vec v = rounded<T>(load(own + r * ld + i)), g = rounded<T>(load(own + r * ld + kPanel + i));
        store(to + i, v * g * sigmoid(g), n);
      });
    }
  }
};

template <class T>
void token_project(const TokenProjectArgs& args, int64_t begin, int64_t end) {
  const int64_t wide = panels_of(args.head) * kPanel;
  const int64_t ld = wide > kTokenColumns ? wide : kTokenColumns;
  float* const sums = args.scratch;
  float* const converted = sums + kTokenRows * ld;
  float* const spare = converted + kTokenRows * args.dim;
  const TokenUnits<T> units{.args = args, .ld = ld};
  const T* const h = static_cast<const T*>(args.h);
  for (int64_t unit = begin, next; unit < end; unit = next) {
    const int64_t panel = units.first_panel(unit);
    for (next = unit + 1; next < end && (units.first_panel(next) + units.panels(next) - panel) * kPanel <= ld;) ++next;
    row_blocks(args.rows, [&](int64_t first, int64_t rows) {
      packed_product(rows, h + first * args.dim, args.dim, args.weight, panel,
                     units.first_panel(next - 1) + units.panels(next - 1) - panel, sums, ld, converted);
      for (int64_t u = unit; u < next; ++u) {
        float* const own = sums + (units.first_panel(u) - panel) * kPanel;
        if (u < units.heads_end() && args.down) units.adapt(u, first, rows, own, converted, spare);
        if (u < args.heads) units.query(u, first, rows, own);
        if (u == args.heads) units.key(first, rows, own, spare);
        if (u == args.heads + 1) units.value(first, rows, own);
        if (u > args.heads + 1) units.feed_forward(u, first, rows, own);
      }
    });
  }
}

template <class T>
void token_attend(const TokenAttendArgs& args, int64_t begin, int64_t end) {
  const int64_t head = args.head, wide = panels_of(head) * kPanel, capacity = args.cache.capacity;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task / args.groups, group = task % args.groups;
    const int64_t first = args.heads * group / args.groups, heads = args.heads * (group + 1) / args.groups - first;
    const int64_t length = args.position[row] + 1, panels = panels_of(length), columns = panels * kPanel;
    float* const scores = args.scratch;
    float* const outs = scores + heads * columns;
    float* const totals = outs + heads * wide;
    float* const converted = totals + heads;
    const int64_t depth = panel_depth(kPairs<T>, head);
    const Panels keys{static_cast<const T*>(args.cache.keys) + row * args.cache.key_stride,
                      nullptr,
                      head,
                      panels,
                      depth * kPanel,
                      kPairs<T> ? PanelType::bfloat16 : PanelType::float32};
    Panels values = keys;
    values.data = static_cast<const T*>(args.cache.values) + row * args.cache.value_stride;
    values.depth = length;
    values.stride = capacity * kPanel;
    const T* const query = static_cast<const T*>(args.query) + (row * args.heads + first) * head;
    packed_product(heads, query, head, keys, 0, panels, scores, columns, converted);
    for (int64_t h = 0; h < heads; ++h) {
      float largest;
      hide(scores + h * columns, length, columns);
      exponentials(scores + h * columns, columns, /*scale=*/1.0f, &largest, &totals[h]);
    }
    packed_product(heads, scores, columns, values, 0, wide / kPanel, outs, wide, nullptr);
    for (int64_t h = 0; h < heads; ++h) {
      T* const to = static_cast<T*>(args.block_hidden) + row * args.block_hidden_stride + (first + h) * head;
      const float share = 1.0f / totals[h];
      each(head, [&](int64_t i, int64_t n) { store(to + i, load(outs + h * wide + i) * share, n); });
    }
  }
}

}  // namespace palm::cpu::PALM_ISA
