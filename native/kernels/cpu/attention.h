#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile.h"
#include "kernels/kernels.h"

namespace palm::cpu::PALM_ISA {

constexpr float kHidden = -__builtin_inff();

// A tile is a few tokens with all heads that share a key head folded into rows, so that the scores of a tile are one
// matrix product. The scores for all keys fit the L2 cache, so softmax needs no running
// maximum.
struct AttentionTile {
  int64_t heads, head, width, keys;  // heads: per key head; width: head rounded up; keys: time rounded up
  int64_t tokens, rows;              // per tile; rows: rounded up to an even number

  explicit AttentionTile(const AttentionArgs& args) : heads(args.heads / args.kv_heads), head(args.head) {
    width = rounded_up(head, kTileColumns);
    keys = rounded_up(args.time, kTileColumns);
    constexpr int64_t kScores = 65536;  // floats: 256 KiB
    int64_t target = kScores / keys;
    target = target > 96 ? 96 : target < kTileRows ? kTileRows : target;
    tokens = target / heads > 0 ? target / heads : 1;
    rows = rounded_up(tokens * heads, 2);
  }

  int64_t count(int64_t time) const { return (time + tokens - 1) / tokens; }
  int64_t scratch() const { return 6 * keys * width + 6 * rows * width + 3 * rows * keys + rows; }
};

static int64_t attention_scratch(const AttentionArgs& args) { return AttentionTile(args).scratch(); }

// The first token of tile `index`, the number of its tokens, and the key columns they need: `columns` columns from
// `begin` on. `visible` points to the first visible key of each token of the sequence, or is null.
struct TileSpan {
  int64_t first, tokens, rows, begin = 0, columns;

  TileSpan(const AttentionTile& tile, int64_t index, int64_t time, const int64_t* visible)
      : first(index * tile.tokens) {
    tokens = time - first < tile.tokens ? time - first : tile.tokens;
    rows = tokens * tile.heads;
    if (visible) begin = visible[first] / kTileColumns * kTileColumns;
    columns = rounded_up(first + tokens, kTileColumns) - begin;
  }
};

// Pointers into a thread's scratch memory; the forward pass leaves those of the gradients unused. `_along_head` and
// similar suffixes name the dimension that a right operand is multiplied along.
template <class Word>
struct AttentionScratch {
  Word *keys_along_head, *values_along_head;  // [head words, keys]
  Word *keys_along_key, *values_along_key;    // [keys words, width]
  float *dkeys, *dvalues;                     // [keys, width]
  Word *queries, *douts;                      // left operands [rows, width words]
  Word *queries_along_row, *douts_along_row;  // [rows words, width]
  float *outs, *dqueries;                     // [rows, width]
  float *scores, *dscores;                    // [rows, keys]
  Word* packed_scores;                        // [rows, keys]
  float* per_row;                             // [rows]

  AttentionScratch(const AttentionTile& tile, float* from) {
    const int64_t matrix = tile.keys * tile.width, narrow = tile.rows * tile.width, wide = tile.rows * tile.keys;
    const auto take = [&](auto*& place, int64_t count) {
      place = reinterpret_cast<__typeof__(place + 0)>(from);
      from += count;
    };
    take(keys_along_head, matrix), take(values_along_head, matrix);
    take(keys_along_key, matrix), take(values_along_key, matrix);
    take(dkeys, matrix), take(dvalues, matrix);
    take(queries, narrow), take(douts, narrow);
    take(queries_along_row, narrow), take(douts_along_row, narrow);
    take(outs, narrow), take(dqueries, narrow);
    take(scores, wide), take(dscores, wide), take(packed_scores, wide);
    take(per_row, tile.rows);
  }
};

template <class Word>
static int64_t words(int64_t numbers) {
  return (numbers + kDepth<Word> - 1) / kDepth<Word>;
}

template <class Word>
static Left<Word> left(const Word* rows, const AttentionTile& tile) {
  return {rows, tile.width / kDepth<Word>, 1};
}

static void zero(float* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, Vec{});
}

// Word w of a row of `head` numbers.
template <class T>
static inline void read_word(float* to, const T* row, int64_t w, int64_t) {
  *to = widened(row[w]);
}
static inline void read_word(Pair* to, const BFloat16* row, int64_t w, int64_t head) {
  const uint32_t later = 2 * w + 1 < head ? row[2 * w + 1].bits : 0;
  to->bits = row[2 * w].bits | later << 16;
}

// Packs the keys or values of one sequence for products along the head: the transpose, word by word.
template <class T, class Word>
static void pack_along_head(Word* to, const AttentionTile& tile, const T* from, int64_t stride, int64_t time) {
  for (int64_t w = 0; w < words<Word>(tile.head); ++w) {
    Word* const line = to + w * tile.keys;
    for (int64_t key = 0; key < time; ++key) read_word(line + key, from + key * stride, w, tile.head);
    for (int64_t key = time; key < tile.keys; ++key) line[key] = Word{};
  }
}

// The same for products along the keys.
template <class T, class Word>
static void pack_along_key(Word* to, const AttentionTile& tile, const T* from, int64_t stride, int64_t time) {
  for (int64_t key = 0; key < tile.keys; key += kDepth<Word>) {
    const T* const row = from + key * stride;
    pack_right(to + key / kDepth<Word> * tile.width, tile.width, row, key + 1 < time ? row + stride : nullptr,
               key < time ? tile.head : 0);
  }
}

// The rows of a tile in a matrix: a row per token, `stride` apart, and `heads` neighbours of `head` elements in it.
template <class T>
struct Heads {
  T* data;  // of the first token
  int64_t stride, heads, head;

  T* operator[](int64_t r) const { return data + r / heads * stride + r % heads * head; }
};

// What a task reads and writes: the tokens of a batch row from index `row` of all tokens on, with one key head.
struct AttentionTask {
  int64_t row, key_head, first_tile;

  AttentionTask(const AttentionArgs& args, int64_t task)
      : row(task / args.groups / args.kv_heads * args.time),
        key_head(task / args.groups % args.kv_heads),
        first_tile(task % args.groups) {}

  // The key head's column of a matrix of keys or values, at the first token.
  template <class T>
  const T* keys(const void* data, int64_t stride, const AttentionTile& tile) const {
    return static_cast<const T*>(data) + row * stride + key_head * tile.head;
  }
  // The heads that share the key head, from a token of the row on.
  template <class T>
  Heads<T> heads(T* data, int64_t stride, const AttentionTile& tile, int64_t token) const {
    return {data + (row + token) * stride + key_head * tile.heads * tile.head, stride, tile.heads, tile.head};
  }
  Heads<float> lse(const AttentionArgs& args, const AttentionTile& tile, int64_t token) const {
    return {args.lse + (row + token) * args.heads + key_head * tile.heads, args.heads, tile.heads, 1};
  }
};

template <class T, class Word>
static void pack_tile(Word* to, const AttentionTile& tile, const Heads<const T>& from, int64_t rows) {
  const int64_t width = tile.width / kDepth<Word>;
  for (int64_t r = 0; r < rows; ++r) pack_left(to + r * width, width, from[r], tile.head);
}

template <class T, class Word>
static void pack_tile_along_row(Word* to, const AttentionTile& tile, const Heads<const T>& from, int64_t rows) {
  for (int64_t r = 0; r < rows; r += kDepth<Word>)
    pack_right(to + r / kDepth<Word> * tile.width, tile.width, from[r], r + 1 < rows ? from[r + 1] : nullptr,
               tile.head);
}

template <class T>
static void unpack_tile(const Heads<T>& to, const AttentionTile& tile, const float* from, int64_t rows) {
  for (int64_t r = 0; r < rows; ++r)
    each(tile.head, [&](int64_t i, int64_t n) { store(to[r] + i, load(from + r * tile.width + i), n); });
}

// Scores [rows, columns] as the left operand of a product along the keys.
static inline Left<float> along_key(const AttentionTile& tile, const float* scores, float*, int64_t, int64_t) {
  return {scores, tile.keys, 1};
}
static inline Left<Pair> along_key(const AttentionTile& tile, const float* scores, Pair* packed, int64_t rows,
                                   int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    pack_left(packed + r * tile.keys / 2, columns / 2, scores + r * tile.keys, columns);
  return {packed, tile.keys / 2, 1};
}

// The transpose of the scores as the left operand of a product along the rows.
static inline Left<float> along_row(const AttentionTile& tile, const float* scores, float*, int64_t, int64_t) {
  return {scores, 1, tile.keys};
}
static inline Left<Pair> along_row(const AttentionTile& tile, const float* scores, Pair* packed, int64_t rows,
                                   int64_t columns) {
  for (int64_t r = 0; r < rows; r += 2) {
    const float* const row = scores + r * tile.keys;
    pack_right(packed + r / 2 * tile.keys, columns, row, r + 1 < rows ? row + tile.keys : nullptr, columns);
  }
  return {packed, 1, tile.keys};
}

// Masks the scores of one query row from key `visible` on.
static void hide(float* score, int64_t visible, int64_t columns) {
  for (int64_t s = visible; s < columns && s % kLanes != 0; ++s) score[s] = kHidden;
  for (int64_t s = rounded_up(visible, kLanes); s < columns; s += kLanes) store(score + s, all(kHidden));
}

// Masks what row r of a tile must not attend to: earlier sequences of its row and later tokens. `visible` as in
// TileSpan.
static void hide_row(float* score, const AttentionTile& tile, const TileSpan& span, int64_t r, const int64_t* visible) {
  const int64_t token = span.first + r / tile.heads;
  for (int64_t s = 0; visible && s < visible[token] - span.begin; ++s) score[s] = kHidden;
  hide(score, token + 1 - span.begin, span.columns);
}

// The offset of a span's keys in a right operand that is multiplied along the keys.
template <class Word>
static int64_t key_rows(const AttentionTile& tile, const TileSpan& span) {
  return span.begin / kDepth<Word> * tile.width;
}

// score ← exp(scale · score − max) in place; returns the max of scale · score and the sum.
static void exponentials(float* score, int64_t columns, float scale, float* largest, float* total) {
  Vec top = load(score);
  for (int64_t s = kLanes; s < columns; s += kLanes) top = maximum(top, load(score + s));
  *largest = maximum(top) * scale;
  Vec mass{};
  for (int64_t s = 0; s < columns; s += kLanes) {
    const Vec p = exp(load(score + s) * scale - *largest);
    store(score + s, p);
    mass += p;
  }
  *total = sum(mass);
}

template <class T>
void attention(const AttentionArgs& args, int64_t begin, int64_t end) {
  using Word = typename WordOf<T>::Type;
  const AttentionTile tile(args);
  const AttentionScratch<Word> at(tile, args.scratch);
  for (int64_t index = begin; index < end; ++index) {
    const AttentionTask task(args, index);
    const int64_t* const visible = args.first_key ? args.first_key + task.row : nullptr;
    pack_along_head(at.keys_along_head, tile, task.keys<T>(args.key, args.key_stride, tile), args.key_stride,
                    args.time);
    pack_along_key(at.values_along_key, tile, task.keys<T>(args.value, args.value_stride, tile), args.value_stride,
                   args.time);
    for (int64_t t = task.first_tile; t < tile.count(args.time); t += args.groups) {
      const TileSpan span(tile, t, args.time, visible);
      const Heads<float> lse = task.lse(args, tile, span.first);
      pack_tile(at.queries, tile, task.heads(static_cast<const T*>(args.query), args.query_stride, tile, span.first),
                span.rows);
      tile_product<false>(span.rows, span.columns, words<Word>(tile.head), left(at.queries, tile),
                          at.keys_along_head + span.begin, tile.keys, at.scores, tile.keys);
      for (int64_t r = 0; r < span.rows; ++r) {
        float* const score = at.scores + r * tile.keys;
        hide_row(score, tile, span, r, visible);
        float largest, total;
        exponentials(score, span.columns, args.scale, &largest, &total);
        at.per_row[r] = 1.0f / total;
        *lse[r] = largest + __builtin_logf(total);
      }
      tile_product<false>(span.rows, tile.width, span.columns / kDepth<Word>,
                          along_key(tile, at.scores, at.packed_scores, span.rows, span.columns),
                          at.values_along_key + key_rows<Word>(tile, span), tile.width, at.outs, tile.width);
      for (int64_t r = 0; r < span.rows; ++r)
        for (int64_t i = r * tile.width; i < (r + 1) * tile.width; i += kLanes)
          store(at.outs + i, load(at.outs + i) * at.per_row[r]);
      unpack_tile(task.heads(static_cast<T*>(args.out), args.out_stride, tile, span.first), tile, at.outs, span.rows);
    }
  }
}

// scores ← P = exp(scale S − lse) and dscores ← scale P (dP − Σ P dP), the gradient of S; on entry dscores holds
// dP = dout Vᵀ and scores holds S. The sum is Σ dout · out as well, but `out` is rounded to bfloat16: the gradients of a
// row would no longer add up to 0, which weighs most where all keys have a large part in common.
static void score_gradients(float* score, float* dscore, int64_t columns, float scale, float lse) {
  Vec total{};
  for (int64_t s = 0; s < columns; s += kLanes) {
    const Vec p = exp(load(score + s) * scale - lse);
    store(score + s, p);
    total += p * load(dscore + s);
  }
  const float delta = sum(total);
  for (int64_t s = 0; s < columns; s += kLanes) store(dscore + s, load(score + s) * (load(dscore + s) - delta) * scale);
}

// dQ = dS K,  dK = dSᵀ Q,  dV = Pᵀ dout.
template <class T>
void attention_grad(const AttentionGradArgs& args, int64_t begin, int64_t end) {
  using Word = typename WordOf<T>::Type;
  const AttentionArgs& of = args.forward;
  const AttentionTile tile(of);
  const AttentionScratch<Word> at(tile, of.scratch);
  for (int64_t index = begin; index < end; ++index) {
    const AttentionTask task(of, index);
    const int64_t* const visible = of.first_key ? of.first_key + task.row : nullptr;
    const T* const key = task.keys<T>(of.key, of.key_stride, tile);
    pack_along_head(at.keys_along_head, tile, key, of.key_stride, of.time);
    pack_along_head(at.values_along_head, tile, task.keys<T>(of.value, of.value_stride, tile), of.value_stride,
                    of.time);
    pack_along_key(at.keys_along_key, tile, key, of.key_stride, of.time);
    zero(at.dkeys, tile.keys * tile.width);
    zero(at.dvalues, tile.keys * tile.width);
    for (int64_t t = task.first_tile; t < tile.count(of.time); t += of.groups) {
      const TileSpan span(tile, t, of.time, visible);
      const int64_t row_words = words<Word>(span.rows);
      const auto rows_of = [&](auto* data, int64_t stride) { return task.heads(data, stride, tile, span.first); };
      const Heads<const T> query = rows_of(static_cast<const T*>(of.query), of.query_stride);
      const Heads<const T> dout = rows_of(static_cast<const T*>(args.dout), args.dout_stride);
      const Heads<float> lse = task.lse(of, tile, span.first);
      pack_tile(at.queries, tile, query, span.rows);
      pack_tile(at.douts, tile, dout, span.rows);
      pack_tile_along_row(at.queries_along_row, tile, query, span.rows);
      pack_tile_along_row(at.douts_along_row, tile, dout, span.rows);
      tile_product<false>(span.rows, span.columns, words<Word>(tile.head), left(at.queries, tile),
                          at.keys_along_head + span.begin, tile.keys, at.scores, tile.keys);
      tile_product<false>(span.rows, span.columns, words<Word>(tile.head), left(at.douts, tile),
                          at.values_along_head + span.begin, tile.keys, at.dscores, tile.keys);
      for (int64_t r = 0; r < span.rows; ++r) {
        hide_row(at.scores + r * tile.keys, tile, span, r, visible);
        score_gradients(at.scores + r * tile.keys, at.dscores + r * tile.keys, span.columns, of.scale, *lse[r]);
      }
      tile_product<false>(span.rows, tile.width, span.columns / kDepth<Word>,
                          along_key(tile, at.dscores, at.packed_scores, span.rows, span.columns),
                          at.keys_along_key + key_rows<Word>(tile, span), tile.width, at.dqueries, tile.width);
      tile_product<true>(span.columns, tile.width, row_words,
                         along_row(tile, at.dscores, at.packed_scores, span.rows, span.columns), at.queries_along_row,
                         tile.width, at.dkeys + span.begin * tile.width, tile.width);
      tile_product<true>(span.columns, tile.width, row_words,
                         along_row(tile, at.scores, at.packed_scores, span.rows, span.columns), at.douts_along_row,
                         tile.width, at.dvalues + span.begin * tile.width, tile.width);
      unpack_tile(rows_of(static_cast<T*>(args.dquery), args.dquery_stride), tile, at.dqueries, span.rows);
    }
    for (int64_t t = 0; t < of.time; ++t) {
      const int64_t to = (index * of.time + t) * tile.head;
      each(tile.head, [&](int64_t i, int64_t n) {
        store(args.dkey + to + i, load(at.dkeys + t * tile.width + i), n);
        store(args.dvalue + to + i, load(at.dvalues + t * tile.width + i), n);
      });
    }
  }
}

}  // namespace palm::cpu::PALM_ISA
