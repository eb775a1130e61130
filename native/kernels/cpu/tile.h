// A small matrix product for operands that are already in the cache:  C[M, N] (+)= A[M, K] · B[K, N].
//
// Operands consist of words: floats, or pairs of bfloat16 adjacent along K, which AVX512-BF16 multiplies and adds in
// one instruction. A right operand is [K / depth][N] words (`depth` numbers per word). A left operand may have any
// layout, including transposed, since it is read word by word.
#pragma once
#include "kernels/cpu/simd.h"

namespace palm::cpu::PALM_ISA {

constexpr int64_t kTileColumns = 2 * kLanes;
#ifdef __AVX512F__
constexpr int kTileRows = 12;  // 24 of 32 registers accumulate
#else
constexpr int kTileRows = 6;  // 12 of 16
#endif

struct Pair {
  uint32_t bits;  // the lower half is the first number
};

template <class T>
struct WordOf {
  using Type = float;
};
#ifdef __AVX512BF16__
template <>
struct WordOf<BFloat16> {
  using Type = Pair;
};
#endif

template <class Word>
constexpr int64_t kDepth = 1;
template <>
inline constexpr int64_t kDepth<Pair> = 2;

static inline Vec multiply_add(Vec sum, float a, const float* b) { return sum + a * load(b); }
#ifdef __AVX512BF16__
static inline Vec multiply_add(Vec sum, Pair a, const Pair* b) {
  const auto left = reinterpret_cast<__m512bh>(Bits{} + a.bits);
  return _mm512_dpbf16_ps(sum, left, reinterpret_cast<__m512bh>(_mm512_loadu_si512(b)));
}
#endif

template <class Word>
struct Left {
  const Word* data;
  int64_t row, column;  // words between neighbours
};

template <int kRows, bool kAdd, class Word>
static inline void tile(Left<Word> a, const Word* b, int64_t ldb, float* c, int64_t ldc, int64_t words) {
  Vec sums[kRows][2] = {};
  for (int64_t k = 0; k < words; ++k) {
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
      const Word x = a.data[m * a.row + k * a.column];
      sums[m][0] = multiply_add(sums[m][0], x, b + k * ldb);
      sums[m][1] = multiply_add(sums[m][1], x, b + k * ldb + kLanes);
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
    float* to = c + m * ldc;
    store(to, kAdd ? load(to) + sums[m][0] : sums[m][0]);
    store(to + kLanes, kAdd ? load(to + kLanes) + sums[m][1] : sums[m][1]);
  }
}

template <bool kAdd, class Word>
static inline void tile_rows(int64_t rows, Left<Word> a, const Word* b, int64_t ldb, float* c, int64_t ldc,
                             int64_t words) {
  while (rows > 0) {
    int64_t done = 1;
    if (rows >= kTileRows) {
      tile<kTileRows, kAdd>(a, b, ldb, c, ldc, words);
      done = kTileRows;
    } else if (kTileRows > 8 && rows >= 8) {
      tile<8, kAdd>(a, b, ldb, c, ldc, words);
      done = 8;
    } else if (rows >= 4) {
      tile<4, kAdd>(a, b, ldb, c, ldc, words);
      done = 4;
    } else {
      tile<1, kAdd>(a, b, ldb, c, ldc, words);
    }
    rows -= done;
    a.data += done * a.row;
    c += done * ldc;
  }
}

// columns: a multiple of kTileColumns. K is `words` words.
template <bool kAdd, class Word>
static void tile_product(int64_t rows, int64_t columns, int64_t words, Left<Word> a, const Word* b, int64_t ldb,
                         float* c, int64_t ldc) {
  for (int64_t n = 0; n < columns; n += kTileColumns) tile_rows<kAdd>(rows, a, b + n, ldb, c + n, ldc, words);
}

// --- packing

// to [width] words: the numbers of a row in order, padded with zeros to `width` words.
template <class T>
static void pack_left(float* to, int64_t width, const T* from, int64_t n) {
  each(n, [&](int64_t i, int64_t count) { store(to + i, load(from + i, count)); });
  for (int64_t i = rounded_up(n, kLanes); i < width; i += kLanes) store(to + i, Vec{});
}

template <class T>
static void pack_left(Pair* to, int64_t width, const T* from, int64_t n) {
  BFloat16* const halves = reinterpret_cast<BFloat16*>(to);
  each(n, [&](int64_t i, int64_t count) { store(halves + i, load(from + i, count)); });
  for (int64_t i = rounded_up(n, kLanes); i < 2 * width; i += kLanes) store(halves + i, Vec{});
}

// to [width] words, from rows adjacent along K: one row of floats, or two interleaved rows (the second may be null).
template <class T>
static void pack_right(float* to, int64_t width, const T* from, const T*, int64_t n) {
  pack_left(to, width, from, n);
}

static inline Bits interleaved(Vec earlier, Vec later) {
  Halves low, high;
  store(reinterpret_cast<BFloat16*>(&low), earlier);
  store(reinterpret_cast<BFloat16*>(&high), later);
  return __builtin_convertvector(low, Bits) | __builtin_convertvector(high, Bits) << 16;
}

template <class T>
static void pack_right(Pair* to, int64_t width, const T* from, const T* next, int64_t n) {
  float* const words = reinterpret_cast<float*>(to);
  each(n, [&](int64_t i, int64_t count) {
    const Vec later = next ? load(next + i, count) : Vec{};
    store(words + i, reinterpret_cast<Vec>(interleaved(load(from + i, count), later)));
  });
  for (int64_t i = rounded_up(n, kLanes); i < width; i += kLanes) store(words + i, Vec{});
}

}  // namespace palm::cpu::PALM_ISA
