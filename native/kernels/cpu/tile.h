// A small matrix product for operands that are in the cache already:  C[M, N] (+)= A[M, K] · B[K, N].
#pragma once
#include "kernels/cpu/simd.h"

namespace palm::cpu::PALM_ISA {

constexpr int64_t kTileColumns = 2 * kLanes;
#ifdef __AVX512F__
constexpr int kTileRows = 12;  // 24 of 32 registers accumulate
#else
constexpr int kTileRows = 6;  // 12 of 16
#endif

// A is read one float at a time at a[m · row + k · column]: any layout, transposed ones too. B and C are contiguous
// rows.
struct TileA {
  const float* data;
  int64_t row, column;
};

template <int kRows, bool kAdd>
static inline void tile(TileA a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t depth) {
  Vec sums[kRows][2] = {};
  for (int64_t k = 0; k < depth; ++k) {
    const Vec left = load(b + k * ldb), right = load(b + k * ldb + kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
      const Vec x = all(a.data[m * a.row + k * a.column]);
      sums[m][0] += x * left;
      sums[m][1] += x * right;
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
    float* to = c + m * ldc;
    store(to, kAdd ? load(to) + sums[m][0] : sums[m][0]);
    store(to + kLanes, kAdd ? load(to + kLanes) + sums[m][1] : sums[m][1]);
  }
}

template <bool kAdd>
static inline void tile_rows(int64_t rows, TileA a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t depth) {
  while (rows > 0) {
    int64_t done = 1;
    if (rows >= kTileRows) {
      tile<kTileRows, kAdd>(a, b, ldb, c, ldc, depth);
      done = kTileRows;
    } else if (kTileRows > 8 && rows >= 8) {
      tile<8, kAdd>(a, b, ldb, c, ldc, depth);
      done = 8;
    } else if (rows >= 4) {
      tile<4, kAdd>(a, b, ldb, c, ldc, depth);
      done = 4;
    } else {
      tile<1, kAdd>(a, b, ldb, c, ldc, depth);
    }
    rows -= done;
    a.data += done * a.row;
    c += done * ldc;
  }
}

// columns: a multiple of kTileColumns.
template <bool kAdd>
static void tile_product(int64_t rows, int64_t columns, int64_t depth, TileA a, const float* b, int64_t ldb, float* c,
                         int64_t ldc) {
  for (int64_t n = 0; n < columns; n += kTileColumns) tile_rows<kAdd>(rows, a, b + n, ldb, c + n, ldc, depth);
}

}  // namespace palm::cpu::PALM_ISA
