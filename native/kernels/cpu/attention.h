#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

constexpr float kHidden = -__builtin_inff();

// A tile is a few tokens with all their heads folded into rows: multi-query heads read the same keys, so a tile's
// scores are one product. They stay in the second-level cache for all keys at once; softmax needs no running maximum.
struct AttentionTile {
  int64_t heads, head, width, keys;  // width: head rounded up;  keys: time rounded up
  int64_t tokens, rows;              // of a tile

  explicit AttentionTile(const AttentionArgs& args) : heads(args.heads), head(args.head) {
    width = rounded_up(head, kTileColumns);
    keys = rounded_up(args.time, kTileColumns);
    constexpr int64_t kScores = 65536;  // floats: 256 KiB
    int64_t target = kScores / keys;
    target = target > 96 ? 96 : target < kTileRows ? kTileRows : target;
    tokens = target / heads > 0 ? target / heads : 1;
    rows = tokens * heads;
  }

  int64_t count(int64_t time) const { return (time + tokens - 1) / tokens; }
  int64_t scratch() const { return 6 * keys * width + 2 * rows * keys + 3 * rows * width + rows; }
};

static int64_t attention_scratch(const AttentionArgs& args) { return AttentionTile(args).scratch(); }

// to [count, width] = from [count, head] in rows `stride` apart, padded with zeros.
template <class T>
static void pack_rows(float* to, int64_t width, const T* from, int64_t stride, int64_t count, int64_t head) {
  for (int64_t r = 0; r < count; ++r) {
    each(head, [&](int64_t i, int64_t n) { store(to + r * width + i, load(from + r * stride + i, n)); });
    for (int64_t i = rounded_up(head, kLanes); i < width; i += kLanes) store(to + r * width + i, Vec{});
  }
}

// to [head, keys] = the transpose of from [count, head], padded with zeros.
template <class T>
static void pack_columns(float* to, int64_t keys, const T* from, int64_t stride, int64_t count, int64_t head) {
  for (int64_t r = 0; r < count; ++r)
    each(head, [&](int64_t i, int64_t n) {
      const Vec x = load(from + r * stride + i, n);
      for (int64_t lane = 0; lane < n; ++lane) to[(i + lane) * keys + r] = x[lane];
    });
  for (int64_t i = 0; i < head; ++i)
    for (int64_t r = count; r < keys; ++r) to[i * keys + r] = 0;
}

static void zero(float* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, Vec{});
}

// The first token of tile `index`, how many it has, and the columns of keys that its last token needs.
struct TileSpan {
  int64_t first, tokens, rows, columns;

  TileSpan(const AttentionTile& tile, int64_t index, int64_t time) : first(index * tile.tokens) {
    tokens = time - first < tile.tokens ? time - first : tile.tokens;
    rows = tokens * tile.heads;
    columns = rounded_up(first + tokens, kTileColumns);
  }
};

// Scores of one query row, hidden from key `visible` on.
static void hide(float* score, int64_t visible, int64_t columns) {
  for (int64_t s = visible; s < columns && s % kLanes != 0; ++s) score[s] = kHidden;
  for (int64_t s = rounded_up(visible, kLanes); s < columns; s += kLanes) store(score + s, all(kHidden));
}

// score ← exp(score − largest) in place; gives the largest and the sum.
static void exponentials(float* score, int64_t columns, float* largest, float* total) {
  Vec top = load(score);
  for (int64_t s = kLanes; s < columns; s += kLanes) top = maximum(top, load(score + s));
  *largest = maximum(top);
  Vec mass{};
  for (int64_t s = 0; s < columns; s += kLanes) {
    const Vec p = exp(load(score + s) - *largest);
    store(score + s, p);
    mass += p;
  }
  *total = sum(mass);
}

// Where the pieces of a thread's scratch begin; the forward pass leaves the gradients' unused.
struct AttentionScratch {
  float *keys_t, *values_t;          // [head, keys]
  float *keys, *values;              // [keys, width]
  float *dkeys, *dvalues;            // [keys, width]
  float *queries, *outs, *dqueries;  // [rows, width]
  float *scores, *dscores;           // [rows, keys]
  float* per_row;                    // [rows]

  AttentionScratch(const AttentionTile& tile, float* from) {
    float** const matrices[] = {&keys_t, &values_t, &keys, &values, &dkeys, &dvalues};
    for (float** place : matrices) place[0] = from, from += tile.keys * tile.width;
    float** const narrow[] = {&queries, &outs, &dqueries};
    for (float** place : narrow) place[0] = from, from += tile.rows * tile.width;
    float** const wide[] = {&scores, &dscores};
    for (float** place : wide) place[0] = from, from += tile.rows * tile.keys;
    per_row = from;
  }
};

template <class T>
static void pack_heads(float* to, const AttentionTile& tile, const TileSpan& span, const void* from, int64_t stride,
                       int64_t row) {
  for (int64_t t = 0; t < span.tokens; ++t)
    pack_rows(to + t * tile.heads * tile.width, tile.width,
              static_cast<const T*>(from) + (row + span.first + t) * stride, tile.head, tile.heads, tile.head);
}

template <class T>
static void unpack_heads(void* to, int64_t stride, int64_t row, const AttentionTile& tile, const TileSpan& span,
                         const float* from) {
  for (int64_t r = 0; r < span.rows; ++r) {
    T* const out = static_cast<T*>(to) + (row + span.first + r / tile.heads) * stride + r % tile.heads * tile.head;
    each(tile.head, [&](int64_t i, int64_t n) { store(out + i, load(from + r * tile.width + i), n); });
  }
}

template <class T>
void attention(const AttentionArgs& args, int64_t begin, int64_t end) {
  const AttentionTile tile(args);
  const AttentionScratch at(tile, args.scratch);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task / args.groups * args.time, stride = args.stride;
    pack_columns(at.keys_t, tile.keys, static_cast<const T*>(args.key) + row * stride, stride, args.time, tile.head);
    pack_rows(at.values, tile.width, static_cast<const T*>(args.value) + row * stride, stride, args.time, tile.head);
    zero(at.values + args.time * tile.width, (tile.keys - args.time) * tile.width);
    for (int64_t index = task % args.groups; index < tile.count(args.time); index += args.groups) {
      const TileSpan span(tile, index, args.time);
      pack_heads<T>(at.queries, tile, span, args.query, stride, row);
      tile_product<false>(span.rows, span.columns, tile.head, {at.queries, tile.width, 1}, at.keys_t, tile.keys,
                          at.scores, tile.keys);
      for (int64_t r = 0; r < span.rows; ++r) {
        float* const score = at.scores + r * tile.keys;
        const int64_t token = span.first + r / tile.heads;
        hide(score, token + 1, span.columns);
        float largest, total;
        exponentials(score, span.columns, &largest, &total);
        at.per_row[r] = 1.0f / total;
        args.lse[(row + token) * tile.heads + r % tile.heads] = largest + __builtin_logf(total);
      }
      tile_product<false>(span.rows, tile.width, span.columns, {at.scores, tile.keys, 1}, at.values, tile.width,
                          at.outs, tile.width);
      for (int64_t r = 0; r < span.rows; ++r)
        for (int64_t i = r * tile.width; i < (r + 1) * tile.width; i += kLanes)
          store(at.outs + i, load(at.outs + i) * at.per_row[r]);
      unpack_heads<T>(args.out, args.out_stride, row, tile, span, at.outs);
    }
  }
}

// dscores ← P (dP − delta), where dscores holds dP = dout Vᵀ and scores the scores; scores ← P = exp(S − lse).
static void score_gradients(float* score, float* dscore, int64_t columns, float lse, float delta) {
  for (int64_t s = 0; s < columns; s += kLanes) {
    const Vec p = exp(load(score + s) - lse);
    store(score + s, p);
    store(dscore + s, p * (load(dscore + s) - delta));
  }
}

// delta[r] = Σ dout · out of one query row.
template <class T>
static float delta_of(const float* dout, const T* out, int64_t head) {
  Vec total{};
  each(head, [&](int64_t i, int64_t n) { total += load(dout + i) * load(out + i, n); });
  return sum(total);
}

// dQ = dS K,  dK = dSᵀ Q,  dV = Pᵀ dout.
template <class T>
void attention_grad(const AttentionGradArgs& args, int64_t begin, int64_t end) {
  const AttentionArgs& of = args.forward;
  const AttentionTile tile(of);
  const AttentionScratch at(tile, of.scratch);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task / of.groups * of.time, stride = of.stride;
    const T* const key = static_cast<const T*>(of.key) + row * stride;
    pack_columns(at.keys_t, tile.keys, key, stride, of.time, tile.head);
    pack_columns(at.values_t, tile.keys, static_cast<const T*>(of.value) + row * stride, stride, of.time, tile.head);
    pack_rows(at.keys, tile.width, key, stride, of.time, tile.head);
    zero(at.keys + of.time * tile.width, (tile.keys - of.time) * tile.width);
    zero(at.dkeys, tile.keys * tile.width);
    zero(at.dvalues, tile.keys * tile.width);
    for (int64_t index = task % of.groups; index < tile.count(of.time); index += of.groups) {
      const TileSpan span(tile, index, of.time);
      pack_heads<T>(at.queries, tile, span, of.query, stride, row);
      pack_heads<T>(at.outs, tile, span, args.dout, args.dout_stride, row);
      tile_product<false>(span.rows, span.columns, tile.head, {at.queries, tile.width, 1}, at.keys_t, tile.keys,
                          at.scores, tile.keys);
      tile_product<false>(span.rows, span.columns, tile.head, {at.outs, tile.width, 1}, at.values_t, tile.keys,
                          at.dscores, tile.keys);
      for (int64_t r = 0; r < span.rows; ++r) {
        const int64_t token = span.first + r / tile.heads, h = r % tile.heads;
        const T* const out = static_cast<const T*>(of.out) + (row + token) * of.out_stride + h * tile.head;
        hide(at.scores + r * tile.keys, token + 1, span.columns);
        score_gradients(at.scores + r * tile.keys, at.dscores + r * tile.keys, span.columns,
                        of.lse[(row + token) * tile.heads + h], delta_of(at.outs + r * tile.width, out, tile.head));
      }
      tile_product<false>(span.rows, tile.width, span.columns, {at.dscores, tile.keys, 1}, at.keys, tile.width,
                          at.dqueries, tile.width);
      tile_product<true>(span.columns, tile.width, span.rows, {at.dscores, 1, tile.keys}, at.queries, tile.width,
                         at.dkeys, tile.width);
      tile_product<true>(span.columns, tile.width, span.rows, {at.scores, 1, tile.keys}, at.outs, tile.width,
                         at.dvalues, tile.width);
      unpack_heads<T>(args.dquery, args.dquery_stride, row, tile, span, at.dqueries);
    }
    for (int64_t t = 0; t < of.time; ++t) {
      const int64_t to = (task * of.time + t) * tile.head;
      each(tile.head, [&](int64_t i, int64_t n) {
        store(args.dkey + to + i, load(at.dkeys + t * tile.width + i), n);
        store(args.dvalue + to + i, load(at.dvalues + t * tile.width + i), n);
      });
    }
  }
}

}  // namespace palm::cpu::PALM_ISA
