// Inner loops of products that are shifted and added: transposing, and adding rows.
#pragma once

#include "vectors.h"

namespace jaxnets {
namespace {

// Lanes of a and b by turns, from the lower or from the upper halves of both.
#if defined(__AVX512F__)
inline void interleave(Vector a, Vector b, Vector& lower, Vector& upper) {
  const __m512i low =
      _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  lower = (Vector)_mm512_permutex2var_ps((__m512)a, low, (__m512)b);
  upper = (Vector)_mm512_permutex2var_ps((__m512)a, high, (__m512)b);
}
#elif defined(__AVX2__)
inline void interleave(Vector a, Vector b, Vector& lower, Vector& upper) {
  const __m256 low = _mm256_unpacklo_ps((__m256)a, (__m256)b);
  const __m256 high = _mm256_unpackhi_ps((__m256)a, (__m256)b);
  lower = (Vector)_mm256_permute2f128_ps(low, high, 0x20);
  upper = (Vector)_mm256_permute2f128_ps(low, high, 0x31);
}
#else
inline void interleave(Vector a, Vector b, Vector& lower, Vector& upper) {
  Vector low{}, high{};
  for (int i = 0; i < L / 2; ++i) {
    low[2 * i] = a[i], low[2 * i + 1] = b[i];
    high[2 * i] = a[L / 2 + i], high[2 * i + 1] = b[L / 2 + i];
  }
  lower = low, upper = high;
}
#endif

// Every pass moves one bit of an entry's row to its lane; L has as many bits as passes.
inline void transpose_block(Vector (&rows)[L]) {
  for (int pass = 1; pass < L; pass *= 2) {
    Vector next[L];
#pragma GCC unroll 8
    for (int i = 0; i < L / 2; ++i)
      interleave(rows[i], rows[i + L / 2], next[2 * i], next[2 * i + 1]);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) rows[i] = next[i];
  }
}

inline void transpose_part(const float* from, i64 from_step, int rows, int columns,
                           float* to, i64 to_step, int width) {
  Vector block[L];
  for (int i = 0; i < L; ++i)
    block[i] = i < rows ? load_some(from + i * from_step, columns) : Vector{};
  transpose_block(block);
  for (int i = 0; i < columns; ++i) store_some(to + i * to_step, block[i], width);
}

void transpose(const float* from, i64 from_step, i64 rows, i64 columns, float* to,
               i64 to_step, i64 width) {
  for (i64 r = 0; r < width; r += L) {
    const int high = static_cast<int>(rows - r < L ? rows - r : L);
    const int wide = static_cast<int>(width - r < L ? width - r : L);
    i64 c = 0;
    if (high == L && wide == L) {
      for (; c + L <= columns; c += L) {
        Vector block[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) block[i] = load(from + (r + i) * from_step + c);
        transpose_block(block);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) store(to + (c + i) * to_step + r, block[i]);
      }
    }
    for (; c < columns; c += L)
      transpose_part(from + r * from_step + c, from_step, high,
                     static_cast<int>(columns - c < L ? columns - c : L),
                     to + c * to_step + r, to_step, wide);
  }
}

// The sums over the lanes of every one of L vectors: each pass adds two halves and
// moves one bit of a vector's number to its lane.
inline Vector sums_of_lanes(Vector (&sums)[L]) {
#pragma GCC unroll 4
  for (int half = L / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) {
      Vector lower, upper;
      interleave(sums[i], sums[i + half], lower, upper);
      sums[i] = lower + upper;
    }
  }
  return sums[0];
}

// The sums of U rows by C columns, L in all; rows and columns that are not there are
// the last one again.
template <int C>
void dots_block(const float* a, i64 a_step, i64 rows, const float* b, i64 b_step,
                i64 columns, i64 length, float* to, i64 to_step, i64 ahead) {
  constexpr int U = L / C;
  const float *x[U], *w[C];
#pragma GCC unroll 16
  for (int u = 0; u < U; ++u) x[u] = a + (u < rows ? u : rows - 1) * a_step;
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) w[c] = b + (c < columns ? c : columns - 1) * b_step;
  Vector sums[L];
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) sums[i] = Vector{};
  const auto add = [&](i64 i, int count) {
    Vector factors[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) factors[c] = load_some(w[c] + i, count);
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) {
      const Vector value = load_some(x[u] + i, count);
      if (ahead > 0) __builtin_prefetch(x[u] + i + ahead);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sums[c * U + u] += value * factors[c];
    }
  };
  i64 i = 0;
  for (; i + L <= length; i += L) add(i, L);
  if (i < length) add(i, static_cast<int>(length - i));
  float found[L];
  store(found, sums_of_lanes(sums));
  for (i64 c = 0; c < columns && c < C; ++c) {
    float* row = to + c * to_step;
    if (rows >= U)
      std::memcpy(row, found + c * U, U * sizeof(float));
    else
      for (i64 u = 0; u < rows; ++u) row[u] = found[c * U + u];
  }
}

template <int C>
void dots_columns(const float* a, i64 a_step, i64 rows, const float* b, i64 b_step,
                  i64 columns, i64 length, float* to, i64 to_step) {
  constexpr int U = L / C;
  for (i64 r = 0; r < rows; r += U)
    for (i64 c = 0; c < columns; c += C)
      dots_block<C>(a + r * a_step, a_step, rows - r, b + c * b_step, b_step,
                    columns - c, length, to + c * to_step + r, to_step,
                    c == 0 ? U * a_step : 0);
}

void dots(const float* a, i64 a_step, i64 rows, const float* b, i64 b_step, i64 columns,
          i64 length, float* to, i64 to_step) {
  const auto some = columns == 1   ? dots_columns<1>
                    : columns == 2 ? dots_columns<2>
                                   : dots_columns<4>;
  some(a, a_step, rows, b, b_step, columns, length, to, to_step);
}

// Rows take turns, since a vector that has just been stored cannot be read at once at
// another place, where the next column wants it.
void add_rows(const float* from, i64 from_step, const AddedRow* rows, i64 number,
              const i64* columns, i64 length, i64 count) {
  for (i64 c = 0; c < length; ++c) {
    for (i64 r = 0; r < number; ++r) {
      const float* source = from + (rows[r].from + c) * from_step;
      float* target = rows[r].to + columns[c];
      i64 p = 0;
      for (; p + L <= count; p += L)
        store(target + p, load(target + p) + load(source + p));
      if (p < count) {
        const int left = static_cast<int>(count - p);
        store(target + p, load(target + p) + load_some(source + p, left));
      }
    }
  }
}

}  // namespace
}  // namespace jaxnets
