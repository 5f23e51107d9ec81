// Products of spectra, summed over channels or over tiles.
#pragma once

#include "fft_kernels.h"

namespace jaxnets {
namespace {

constexpr int kMostRows = 4;
constexpr int kMixedVectors = JAXNETS_REGISTERS == 32 ? 2 : 1;
constexpr int kSpreadRows = JAXNETS_REGISTERS == 32 ? 4 : 2;

inline Index indices(const std::int32_t* p) {
  Index index;
  std::memcpy(&index, p, sizeof index);
  return index;
}

// sum + a times the conjugate of b.
inline Point plus_product(Point sum, Point a, Point b) {
  return {sum.re + a.re * b.re + a.im * b.im, sum.im + a.im * b.re - a.re * b.im};
}

inline Point permuted(Point a, Index index) {
  return {permuted(a.re, index), permuted(a.im, index)};
}

// Input c of a row, in all lanes.
inline Point broadcast(const float* row) { return {all(row[0]), all(row[L])}; }

// Inputs of an array from input `first` on.
inline i64 inputs(const FftSums& s, i64 first) {
  const i64 left = s.terms - first;
  return left < s.chunk ? left : s.chunk;
}

// A few rows and vectors of y, whose sums are in registers.
template <int T, int U>
void mix_block(const FftSums& s, i64 points, i64 row, i64 vector) {
  const float* k = s.k + vector * kPoint;
  for (i64 p = 0; p < points * kPoint; p += kPoint) {
    Point sum[T][U] = {};
    const float* x = s.x + p;
    for (i64 first = 0; first < s.terms; first += s.chunk, x += s.x_step) {
      const i64 count = inputs(s, first);
      for (i64 c = 0; c < count; ++c, k += s.vectors * kPoint) {
        Point kernel[U];
        for (int u = 0; u < U; ++u) kernel[u] = point(k + u * kPoint);
        for (int t = 0; t < T; ++t) {
          const Point in = broadcast(x + s.at[row + t] + c);
          for (int u = 0; u < U; ++u)
            sum[t][u] = plus_product(sum[t][u], in, kernel[u]);
        }
      }
    }
    for (int t = 0; t < T; ++t)
      for (int u = 0; u < U; ++u)
        put(s.y + ((row + t) * s.vectors + vector + u) * s.y_step + p, sum[t][u]);
  }
}

template <int T>
void mix_spread(const FftSums& s, i64 points, i64 row) {
  const float* k = s.k;
  for (i64 p = 0; p < points * kPoint; p += kPoint) {
    Point sum[T] = {};
    const float* x = s.x + p;
    for (i64 first = 0; first < s.terms; first += s.chunk, x += s.x_step) {
      Point in[T];
      for (int t = 0; t < T; ++t) in[t] = point(x + s.at[row + t]);
      const std::int32_t* spread = s.spread + first * L;
      const i64 count = inputs(s, first);
      for (i64 c = 0; c < count; ++c, k += kPoint) {
        const Index index = indices(spread + c * L);
        const Point kernel = point(k);
        for (int t = 0; t < T; ++t)
          sum[t] = plus_product(sum[t], permuted(in[t], index), kernel);
      }
    }
    for (int t = 0; t < T; ++t) put(s.y + (row + t) * s.y_step + p, sum[t]);
  }
}

// The products of a few rows at one point with one vector of y, added to sums at k.
template <int T>
void add_rows_at(const FftSums& s, i64 p, i64 row, i64 vector, float* k) {
  Point out[T];
  for (int t = 0; t < T; ++t)
    out[t] = point(s.y + ((row + t) * s.vectors + vector) * s.y_step + p);
  const float* x = s.x + p;
  for (i64 first = 0; first < s.terms; first += s.chunk, x += s.x_step) {
    const i64 count = inputs(s, first);
    for (i64 c = 0; c < count; ++c, k += s.vectors * kPoint) {
      Point sum = point(k);
      for (int t = 0; t < T; ++t)
        sum = plus_product(sum, broadcast(x + s.at[row + t] + c), out[t]);
      put(k, sum);
    }
  }
}

template <int T>
void add_spread_rows_at(const FftSums& s, i64 p, i64 row, float* k) {
  Point out[T], in[T];
  for (int t = 0; t < T; ++t) out[t] = point(s.y + (row + t) * s.y_step + p);
  const float* x = s.x + p;
  for (i64 first = 0; first < s.terms; first += s.chunk, x += s.x_step) {
    for (int t = 0; t < T; ++t) in[t] = point(x + s.at[row + t]);
    const std::int32_t* spread = s.spread + first * L;
    const i64 count = inputs(s, first);
    for (i64 c = 0; c < count; ++c, k += kPoint) {
      const Index index = indices(spread + c * L);
      Point sum = point(k);
      for (int t = 0; t < T; ++t)
        sum = plus_product(sum, permuted(in[t], index), out[t]);
      put(k, sum);
    }
  }
}

// One of `block<T>` for every few rows.
template <int T, typename Block>
void in_rows(i64 rows, const Block& block) {
  i64 row = 0;
  for (; row + T <= rows; row += T) block.template operator()<T>(row);
  if constexpr (T > 1)
    in_rows<T / 2>(rows - row, [&]<int Few>(i64 more) {
      block.template operator()<Few>(row + more);
    });
}

void fft_mix(const FftSums& s, i64 points) {
  if (s.spread != nullptr)
    return in_rows<kSpreadRows>(s.rows,
                                [&]<int T>(i64 row) { mix_spread<T>(s, points, row); });
  i64 vector = 0;
  for (; vector + kMixedVectors <= s.vectors; vector += kMixedVectors)
    in_rows<kMostRows>(s.rows, [&]<int T>(i64 row) {
      mix_block<T, kMixedVectors>(s, points, row, vector);
    });
  for (; vector < s.vectors; ++vector)
    in_rows<kMostRows>(
        s.rows, [&]<int T>(i64 row) { mix_block<T, 1>(s, points, row, vector); });
}

// The sums at one point stay in the nearest cache while all rows are added.
void fft_mix_grad(const FftSums& s, i64 points) {
  const i64 sums = s.terms * s.vectors * kPoint;
  for (i64 i = 0; i < points; ++i) {
    float* k = s.k + i * sums;
    if (s.spread != nullptr) {
      in_rows<kSpreadRows>(s.rows, [&]<int T>(i64 row) {
        add_spread_rows_at<T>(s, i * kPoint, row, k);
      });
      continue;
    }
    for (i64 vector = 0; vector < s.vectors; ++vector)
      in_rows<kMostRows>(s.rows, [&]<int T>(i64 row) {
        add_rows_at<T>(s, i * kPoint, row, vector, k + vector * kPoint);
      });
  }
}

}  // namespace
}  // namespace jaxnets
