// Decoding one token per row: the input product with its epilogues, attention over a packed cache, and sampling.
#pragma once
#include "kernels/cpu/activation.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/packed-product.h"
#include "kernels/cpu/rotary.h"

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
  int64_t ld;  // row stride of the sums
  int64_t head_panels = panels_of(args.head);
  int64_t ff_panels = args.gated ? 2 : 1;

  int64_t heads_end() const { return args.heads + 2 * args.kv_heads; }
  int64_t panels(int64_t unit) const { return unit < heads_end() ? head_panels : ff_panels; }
  int64_t first_panel(int64_t unit) const {
    const int64_t last = heads_end();
    return unit < last ? unit * head_panels : last * head_panels + (unit - last) * ff_panels;
  }

  // Adds the output of the adapters on a unit for rows first … first + rows − 1.
  void adapt(int64_t unit, int64_t first, int64_t rows, float* own, float* converted, float* more) const {
    const int64_t last = heads_end();
    if (unit < last) return adapt(args.adapters[unit], head_panels, first, rows, own, converted, more);
    for (int64_t i = 0; i < ff_panels; ++i)
      adapt(args.adapters[last + (unit - last) * ff_panels + i], 1, first, rows, own + i * kPanel, converted, more);
  }

  void adapt(const PieceAdapter& adapter, int64_t panels, int64_t first, int64_t rows, float* own, float* converted,
             float* more) const {
    if (!adapter.up.data) return;
    const int64_t wide = panels * kPanel;
    const T* const down = static_cast<const T*>(args.down) + first * args.down_stride + adapter.column;
    packed_product(rows, down, args.down_stride, adapter.up, adapter.panel, panels, more, wide, converted);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < wide; i += kLanes)
        store(own + r * ld + i, rounded<T>(load(own + r * ld + i)) + load(more + r * wide + i));
  }

  // to [head] = the sums of one row, within ± clip.
  void round_head(T* to, const float* from) const {
    each(args.head, [&](int64_t i, int64_t n) {
      const Vec x = load(from + i), most = all(args.clip);
      store(to + i, args.clip == 0 ? x : x > most ? most : x < -most ? -most : x, n);
    });
  }

  static void normalise(T* head, const NormArgs& shared, int64_t first) {
    float mean, rstd;
    NormArgs own = shared;
    if (own.weight) own.weight = static_cast<const T*>(own.weight) + first;
    if (own.bias) own.bias = static_cast<const T*>(own.bias) + first;
    own.x = own.y = head;
    own.mean = &mean;
    own.rstd = &rstd;
    norm<T>(own, 0, 1);
  }

  // to [head] = the sums of one row, normalised by the weights of head `index` and rotated to its position.
  void turn(T* to, const float* from, const NormArgs* by, int64_t index, const float* cos, const float* sin,
            int64_t position) const {
    const int64_t half = args.turned / 2;
    round_head(to, from);
    if (by) normalise(to, *by, index * args.norm_stride);
    if (half > 0) rotate_head(to, cos + position * half, sin + position * half, half, 1.0f);
  }

  void query(int64_t unit, int64_t first, int64_t rows, const float* own) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = first + r;
      T* const to = static_cast<T*>(args.query) + (row * args.heads + unit) * args.head;
      turn(to, own + r * ld, args.query_norm, unit, args.query_cos, args.query_sin, args.position[row]);
    }
  }

  void key(int64_t index, int64_t first, int64_t rows, const float* own, float* turned) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = first + r, position = args.position[row];
      T* const from = reinterpret_cast<T*>(turned);
      turn(from, own + r * ld, args.key_norm, index, args.key_cos, args.key_sin, position);
      T* const panel = static_cast<T*>(args.cache.keys) +
                       (args.slot[row] * args.kv_heads + index) * args.cache.key_stride +
                       position / kPanel * kPanel * panel_depth(kPairs<T>, args.head);
      for (int64_t k = 0; k < args.head; ++k) panel[panel_index(kPairs<T>, k, position % kPanel)] = from[k];
    }
  }

  void value(int64_t index, int64_t first, int64_t rows, const float* own, float* rounded) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = first + r, position = args.position[row];
      T* const from = reinterpret_cast<T*>(rounded);
      round_head(from, own + r * ld);
      T* const panels =
          static_cast<T*>(args.cache.values) + (args.slot[row] * args.kv_heads + index) * args.cache.value_stride;
      for (int64_t k = 0; k < args.head; ++k) {
        T* const panel = panels + k / kPanel * kPanel * args.cache.capacity;
        panel[panel_index(kPairs<T>, position, k % kPanel)] = from[k];
      }
    }
  }

  // own: 32 values, followed by their gates if there are any.
  void feed_forward(int64_t unit, int64_t first, int64_t rows, const float* own) const {
    const int64_t column = (unit - heads_end()) * kPanel, left = args.ff - column, width = args.heads * args.head;
    T* const to = static_cast<T*>(args.block_hidden) + first * (width + args.ff) + width + column;
    by_activation(args.activation, [&](auto f) {
      using Share = decltype(f);
      for (int64_t r = 0; r < rows; ++r)
        each(left < kPanel ? left : kPanel, [&](int64_t i, int64_t n) {
          const Vec v = rounded<T>(load(own + r * ld + i));
          const Vec g = args.gated ? rounded<T>(load(own + r * ld + kPanel + i)) : v;
          store(to + r * (width + args.ff) + i, args.gated ? v * g * Share::share(g) : v * Share::share(v), n);
        });
    });
  }

  void finish(int64_t unit, int64_t first, int64_t rows, float* own, float* converted, float* spare) const {
    if (args.adapters) adapt(unit, first, rows, own, converted, spare);
    const int64_t keys = args.heads, values = keys + args.kv_heads;
    if (unit < keys) return query(unit, first, rows, own);
    if (unit < values) return key(unit - keys, first, rows, own, spare);
    if (unit < heads_end()) return value(unit - values, first, rows, own, spare);
    feed_forward(unit, first, rows, own);
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
      for (int64_t u = unit; u < next; ++u)
        units.finish(u, first, rows, sums + (units.first_panel(u) - panel) * kPanel, converted, spare);
    });
  }
}

// The heads `first` … `first + heads − 1` of a row, which share one head of keys and values.
template <class T>
static void attend_heads(const TokenAttendArgs& args, int64_t row, int64_t first, int64_t heads) {
  const int64_t head = args.head, wide = panels_of(head) * kPanel, shared = args.heads / args.kv_heads;
  const int64_t at = args.slot[row] * args.kv_heads + first / shared, end = args.position[row] + 1;
  const int64_t visible = args.window > 0 && end > args.window ? end - args.window : 0;
  const int64_t begin = visible / kPanel * kPanel, length = end - begin, panels = panels_of(length);
  const int64_t columns = panels * kPanel, depth = panel_depth(kPairs<T>, head);
  float* const scores = args.scratch;
  float* const outs = scores + heads * columns;
  float* const totals = outs + heads * wide;
  float* const converted = totals + heads;
  const Panels keys{.data = static_cast<const T*>(args.cache.keys) + at * args.cache.key_stride + begin * depth,
                    .scale = nullptr,
                    .bias = nullptr,
                    .depth = head,
                    .count = panels,
                    .stride = depth * kPanel,
                    .type = kPairs<T> ? PanelType::bfloat16 : PanelType::float32};
  Panels values = keys;
  values.data = static_cast<const T*>(args.cache.values) + at * args.cache.value_stride + begin * kPanel;
  values.depth = length;
  values.stride = args.cache.capacity * kPanel;
  const T* const query = static_cast<const T*>(args.query) + (row * args.heads + first) * head;
  packed_product(heads, query, head, keys, 0, panels, scores, columns, converted);
  for (int64_t h = 0; h < heads; ++h) {
    float* const score = scores + h * columns;
    float largest;
    for (int64_t s = 0; s < visible - begin; ++s) score[s] = kHidden;
    hide(score, length, columns);
    exponentials(score, columns, args.scale, &largest, &totals[h]);
  }
  packed_product(heads, scores, columns, values, 0, wide / kPanel, outs, wide, nullptr);
  for (int64_t h = 0; h < heads; ++h) {
    T* const to = static_cast<T*>(args.block_hidden) + row * args.block_hidden_stride + (first + h) * head;
    const float share = 1.0f / totals[h];
    each(head, [&](int64_t i, int64_t n) { store(to + i, load(outs + h * wide + i) * share, n); });
  }
}

template <class T>
void token_attend(const TokenAttendArgs& args, int64_t begin, int64_t end) {
  const int64_t shared = args.heads / args.kv_heads;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task / args.groups, group = task % args.groups;
    const int64_t last = args.heads * (group + 1) / args.groups;
    for (int64_t first = args.heads * group / args.groups, next; first < last; first = next) {
      next = (first / shared + 1) * shared < last ? (first / shared + 1) * shared : last;
      attend_heads<T>(args, row, first, next - first);
    }
  }
}

}  // namespace palm::cpu::PALM_ISA
