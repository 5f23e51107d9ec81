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

// Input c of a row, in all lanes.
inline Point broadcast(const float* row) { return {all(row[0]), all(row[L])}; }

// A few rows and vectors of y, whose sums are in registers.
template <int T, int U>
void mix_block(const FftSums& s, i64 points, i64 row, i64 vector) {
  const float* k = s.k + vector * kPoint;
  for (i64 p = 0; p < points * kPoint; p += kPoint) {
    Point sum[T][U] = {};
    for (i64 first = 0; first < s.terms; first += L) {
      const float* x = s.x + first / L * s.x_step + p;
      const i64 count = s.terms - first < L ? s.terms - first : L;
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
    Point in[T], sum[T] = {};
    for (int t = 0; t < T; ++t) in[t] = point(s.x + s.at[row + t] + p);
    for (i64 c = 0; c < s.terms; ++c, k += kPoint) {
      const Index index = indices(s.spread + c * L);
      const Point kernel = point(k);
      for (int t = 0; t < T; ++t) {
        const Point here{permuted(in[t].re, index), permuted(in[t].im, index)};
        sum[t] = plus_product(sum[t], here, kernel);
      }
    }
    for (int t = 0; t < T; ++t) put(s.y + (row + t) * s.y_step + p, sum[t]);
  }
}

template <int T>
void mix_grad_block(const FftSums& s, i64 points, i64 row, i64 vector) {
  float* k = s.k + vector * kPoint;
  for (i64 p = 0; p < points * kPoint; p += kPoint) {
    Point out[T];
    for (int t = 0; t < T; ++t)
      out[t] = point(s.y + ((row + t) * s.vectors + vector) * s.y_step + p);
    for (i64 first = 0; first < s.terms; first += L) {
      const float* x = s.x + first / L * s.x_step + p;
      const i64 count = s.terms - first < L ? s.terms - first : L;
      for (i64 c = 0; c < count; ++c, k += s.vectors * kPoint) {
        Point sum = point(k);
        for (int t = 0; t < T; ++t)
          sum = plus_product(sum, broadcast(x + s.at[row + t] + c), out[t]);
        put(k, sum);
      }
    }
  }
}

template <int T>
void mix_grad_spread(const FftSums& s, i64 points, i64 row) {
  float* k = s.k;
  for (i64 p = 0; p < points * kPoint; p += kPoint) {
    Point in[T], out[T];
    for (int t = 0; t < T; ++t) {
      in[t] = point(s.x + s.at[row + t] + p);
      out[t] = point(s.y + (row + t) * s.y_step + p);
    }
    for (i64 c = 0; c < s.terms; ++c, k += kPoint) {
      const Index index = indices(s.spread + c * L);
      Point sum = point(k);
      for (int t = 0; t < T; ++t) {
        const Point here{permuted(in[t].re, index), permuted(in[t].im, index)};
        sum = plus_product(sum, here, out[t]);
      }
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

void fft_mix_grad(const FftSums& s, i64 points) {
  if (s.spread != nullptr)
    return in_rows<kSpreadRows>(
        s.rows, [&]<int T>(i64 row) { mix_grad_spread<T>(s, points, row); });
  for (i64 vector = 0; vector < s.vectors; ++vector)
    in_rows<kMostRows>(
        s.rows, [&]<int T>(i64 row) { mix_grad_block<T>(s, points, row, vector); });
}

}  // namespace
}  // namespace jaxnets
