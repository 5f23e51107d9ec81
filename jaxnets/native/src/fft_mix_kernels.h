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

// Calls visit(x, first, count) for every array of inputs: where it is at point p, the
// number of its first input, and how many it has.
template <typename Visit>
inline void inputs_at(const FftSums& s, i64 p, const Visit& visit) {
  const float* x = s.x + p * kPoint;
  for (i64 first = 0; first < s.terms; first += s.chunk, x += s.x_step) {
    const i64 left = s.terms - first;
    visit(x, first, left < s.chunk ? left : s.chunk);
  }
}

// What k has for vector `vector` at point p, or for the first of them.
inline float* sums_at(const FftSums& s, i64 p, i64 vector) {
  return s.k + (p * s.vectors + vector) * s.terms * kPoint;
}

inline float* result(const FftSums& s, i64 p, i64 row, i64 vector) {
  return s.y + (row * s.vectors + vector) * s.y_step + p * kPoint;
}

// A few rows and vectors of y at one point.
template <int T, int U>
void mix_at(const FftSums& s, i64 p, i64 row, i64 vector) {
  Point sum[T][U] = {};
  const float* k = sums_at(s, p, 0) + vector * kPoint;
  inputs_at(s, p, [&](const float* x, i64, i64 count) {
    for (i64 c = 0; c < count; ++c, k += s.vectors * kPoint) {
      Point kernel[U];
      for (int u = 0; u < U; ++u) kernel[u] = point(k + u * kPoint);
      for (int t = 0; t < T; ++t) {
        const Point in = broadcast(x + s.at[row + t] + c);
        for (int u = 0; u < U; ++u) sum[t][u] = plus_product(sum[t][u], in, kernel[u]);
      }
    }
  });
  for (int t = 0; t < T; ++t)
    for (int u = 0; u < U; ++u) put(result(s, p, row + t, vector + u), sum[t][u]);
}

template <int T>
void mix_spread_at(const FftSums& s, i64 p, i64 row) {
  Point sum[T] = {};
  const float* k = sums_at(s, p, 0);
  inputs_at(s, p, [&](const float* x, i64 first, i64 count) {
    Point in[T];
    for (int t = 0; t < T; ++t) in[t] = point(x + s.at[row + t]);
    const std::int32_t* spread = s.spread + first * L;
    for (i64 c = 0; c < count; ++c, k += kPoint) {
      const Index index = indices(spread + c * L);
      const Point kernel = point(k);
      for (int t = 0; t < T; ++t)
        sum[t] = plus_product(sum[t], permuted(in[t], index), kernel);
    }
  });
  for (int t = 0; t < T; ++t) put(result(s, p, row + t, 0), sum[t]);
}

// The products of a few rows at one point with one vector of y, added to k.
template <int T>
void mix_grad_at(const FftSums& s, i64 p, i64 row, i64 vector) {
  Point out[T];
  for (int t = 0; t < T; ++t) out[t] = point(result(s, p, row + t, vector));
  float* k = sums_at(s, p, vector);
  inputs_at(s, p, [&](const float* x, i64, i64 count) {
    for (i64 c = 0; c < count; ++c, k += kPoint) {
      Point sum = point(k);
      for (int t = 0; t < T; ++t)
        sum = plus_product(sum, broadcast(x + s.at[row + t] + c), out[t]);
      put(k, sum);
    }
  });
}

template <int T>
void mix_grad_spread_at(const FftSums& s, i64 p, i64 row) {
  Point out[T];
  for (int t = 0; t < T; ++t) out[t] = point(result(s, p, row + t, 0));
  float* k = sums_at(s, p, 0);
  inputs_at(s, p, [&](const float* x, i64 first, i64 count) {
    Point in[T];
    for (int t = 0; t < T; ++t) in[t] = point(x + s.at[row + t]);
    const std::int32_t* spread = s.spread + first * L;
    for (i64 c = 0; c < count; ++c, k += kPoint) {
      const Index index = indices(spread + c * L);
      Point sum = point(k);
      for (int t = 0; t < T; ++t)
        sum = plus_product(sum, permuted(in[t], index), out[t]);
      put(k, sum);
    }
  });
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

// The kernel at one point stays in the nearest cache while it meets all rows.
void fft_mix(const FftSums& s, i64 from, i64 to) {
  for (i64 p = from; p < to; ++p) {
    if (s.spread != nullptr) {
      in_rows<kSpreadRows>(s.rows,
                           [&]<int T>(i64 row) { mix_spread_at<T>(s, p, row); });
      continue;
    }
    i64 vector = 0;
    for (; vector + kMixedVectors <= s.vectors; vector += kMixedVectors)
      in_rows<kMostRows>(
          s.rows, [&]<int T>(i64 row) { mix_at<T, kMixedVectors>(s, p, row, vector); });
    for (; vector < s.vectors; ++vector)
      in_rows<kMostRows>(s.rows,
                         [&]<int T>(i64 row) { mix_at<T, 1>(s, p, row, vector); });
  }
}

// So do the sums.
void fft_mix_grad(const FftSums& s, i64 from, i64 to) {
  for (i64 p = from; p < to; ++p) {
    if (s.spread != nullptr) {
      in_rows<kSpreadRows>(s.rows,
                           [&]<int T>(i64 row) { mix_grad_spread_at<T>(s, p, row); });
      continue;
    }
    for (i64 vector = 0; vector < s.vectors; ++vector)
      in_rows<kMostRows>(s.rows,
                         [&]<int T>(i64 row) { mix_grad_at<T>(s, p, row, vector); });
  }
}

}  // namespace
}  // namespace jaxnets
