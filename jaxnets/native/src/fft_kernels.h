// Transforms of L lines side by side, in place and without a permutation.
//
// A point of L lines is a vector of real and one of imaginary parts. The way there
// (decimation in frequency) leaves the frequencies in the order of their digits turned
// over, the way back begins with them so; what multiplies spectra does not care.
#pragma once

#include "vectors.h"

namespace jaxnets {
namespace {

// Blocks of so many bytes go through all their steps while they are in the cache.
constexpr i64 kCachedBytes = 16 << 10;
constexpr i64 kPoint = 2 * L;

struct Point {
  Vector re, im;
};

inline Point point(const float* p) { return {load(p), load(p + L)}; }
inline void put(float* p, Point a) {
  store(p, a.re);
  store(p + L, a.im);
}
inline Point operator+(Point a, Point b) { return {a.re + b.re, a.im + b.im}; }
inline Point operator-(Point a, Point b) { return {a.re - b.re, a.im - b.im}; }

// a times w, or its conjugate on the way back.
template <bool kBack>
inline Point turned(Point a, const float* w) {
  const Vector re = all(w[0]), im = all(w[1]);
  if constexpr (kBack)
    return {a.re * re + a.im * im, a.im * re - a.re * im};
  else
    return {a.re * re - a.im * im, a.im * re + a.re * im};
}

// a times -i, or i on the way back.
template <bool kBack>
inline Point quarter(Point a) {
  if constexpr (kBack) return {-a.im, a.re};
  return {a.im, -a.re};
}

template <bool kBack>
inline void butterfly(Point (&a)[2]) {
  const Point b = a[1];
  a[1] = a[0] - b;
  a[0] = a[0] + b;
}

template <bool kBack>
inline void butterfly(Point (&a)[3]) {
  const Vector half = all(0.5f), sine = all(0.86602540378443864676f);
  const Point sum = a[1] + a[2], between = a[1] - a[2];
  const Point middle{a[0].re - half * sum.re, a[0].im - half * sum.im};
  const Point side = quarter<kBack>({sine * between.re, sine * between.im});
  a[0] = a[0] + sum;
  a[1] = middle + side;
  a[2] = middle - side;
}

template <bool kBack>
inline void butterfly(Point (&a)[4]) {
  const Point even = a[0] + a[2], odd = a[0] - a[2];
  const Point sum = a[1] + a[3], side = quarter<kBack>(a[1] - a[3]);
  a[0] = even + sum;
  a[1] = odd + side;
  a[2] = even - sum;
  a[3] = odd - side;
}

template <bool kBack>
inline void butterfly(Point (&a)[8]) {
  Point even[4] = {a[0], a[2], a[4], a[6]}, odd[4] = {a[1], a[3], a[5], a[7]};
  butterfly<kBack>(even);
  butterfly<kBack>(odd);
  const Vector root = all(0.70710678118654752440f);
  const Point q1 = quarter<kBack>(odd[1]), q3 = quarter<kBack>(odd[3]);
  const Point one = odd[1] + q1, three = q3 - odd[3];
  odd[1] = {root * one.re, root * one.im};
  odd[2] = quarter<kBack>(odd[2]);
  odd[3] = {root * three.re, root * three.im};
  for (int i = 0; i < 4; ++i) {
    a[i] = even[i] + odd[i];
    a[i + 4] = even[i] - odd[i];
  }
}

// One step on a block: `radix` parts of it are combined point by point.
template <int R, bool kBack, bool kTurn>
void pass(float* z, const FftStep& step) {
  const i64 part = step.block / R * kPoint;
  const float* w = step.turns;
  for (float* end = z + part; z < end; w += 2 * (R - 1)) {
    for (i64 i = 0; i < step.inner; ++i, z += kPoint) {
      Point a[R];
      for (int q = 0; q < R; ++q) a[q] = point(z + q * part);
      if constexpr (kBack && kTurn)
        for (int q = 1; q < R; ++q) a[q] = turned<kBack>(a[q], w + 2 * (q - 1));
      butterfly<kBack>(a);
      if constexpr (!kBack && kTurn)
        for (int q = 1; q < R; ++q) a[q] = turned<kBack>(a[q], w + 2 * (q - 1));
      for (int q = 0; q < R; ++q) put(z + q * part, a[q]);
    }
  }
}

template <int R, bool kBack>
void pass(float* z, const FftStep& step) {
  // The last step of an axis turns nothing.
  if (step.block == R * step.inner) return pass<R, kBack, false>(z, step);
  pass<R, kBack, true>(z, step);
}

template <bool kBack>
void pass(float* z, const FftStep& step) {
  switch (step.radix) {
    case 2:
      return pass<2, kBack>(z, step);
    case 3:
      return pass<3, kBack>(z, step);
    case 4:
      return pass<4, kBack>(z, step);
    default:
      return pass<8, kBack>(z, step);
  }
}

inline bool cached(const FftStep& step) {
  return step.block * kPoint * static_cast<i64>(sizeof(float)) <= kCachedBytes;
}

// All steps on all blocks of z, one after the other.
template <bool kBack>
void passes(float* z, const FftStep* steps, int count) {
  for (int i = 0; i < count; ++i) {
    const FftStep& step = steps[kBack ? count - 1 - i : i];
    for (i64 at = 0; at < steps[0].block; at += step.block)
      pass<kBack>(z + at * kPoint, step);
  }
}

void fft_there(float* z, const FftStep* steps, int count) {
  if (count == 0) return;
  if (cached(steps[0])) return passes<false>(z, steps, count);
  pass<false>(z, steps[0]);
  const i64 part = steps[0].block / steps[0].radix * kPoint;
  for (int q = 0; q < steps[0].radix; ++q)
    fft_there(z + q * part, steps + 1, count - 1);
}

void fft_back(float* z, const FftStep* steps, int count) {
  if (count == 0) return;
  if (cached(steps[0])) return passes<true>(z, steps, count);
  const i64 part = steps[0].block / steps[0].radix * kPoint;
  for (int q = 0; q < steps[0].radix; ++q) fft_back(z + q * part, steps + 1, count - 1);
  pass<true>(z, steps[0]);
}

// z times the conjugate of k.
inline void multiply(float* z, const float* k, i64 points) {
  for (i64 i = 0; i < points * kPoint; i += kPoint) {
    const Point a = point(z + i), b = point(k + i);
    put(z + i, {a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im});
  }
}

void fft_filter(float* z, const float* k, const FftStep* steps, int count) {
  if (count == 0) return multiply(z, k, 1);
  if (cached(steps[0])) {
    passes<false>(z, steps, count);
    multiply(z, k, steps[0].block);
    return passes<true>(z, steps, count);
  }
  pass<false>(z, steps[0]);
  const i64 part = steps[0].block / steps[0].radix * kPoint;
  for (int q = 0; q < steps[0].radix; ++q)
    fft_filter(z + q * part, k + q * part, steps + 1, count - 1);
  pass<true>(z, steps[0]);
}

// sum += z times the conjugate of w.
inline void add_product(const float* z, const float* w, float* sum, i64 points) {
  for (i64 i = 0; i < points * kPoint; i += kPoint) {
    const Point a = point(z + i), b = point(w + i), s = point(sum + i);
    put(sum + i, {s.re + a.re * b.re + a.im * b.im, s.im + a.im * b.re - a.re * b.im});
  }
}

void fft_add_product(float* z, float* w, float* sum, const FftStep* steps, int count) {
  if (count == 0) return add_product(z, w, sum, 1);
  if (cached(steps[0])) {
    passes<false>(z, steps, count);
    passes<false>(w, steps, count);
    return add_product(z, w, sum, steps[0].block);
  }
  pass<false>(z, steps[0]);
  pass<false>(w, steps[0]);
  const i64 part = steps[0].block / steps[0].radix * kPoint;
  for (int q = 0; q < steps[0].radix; ++q)
    fft_add_product(z + q * part, w + q * part, sum + q * part, steps + 1, count - 1);
}

void fft_place(const float* src, i64 step, i64 count, int width, int stored,
               float* dst) {
  for (i64 i = 0; i < count; ++i) {
    const Vector v = src == nullptr ? Vector{} : load_some(src + i * step, width);
    store_some(dst + i * kPoint, v, stored);
  }
}

void fft_take(const float* src, i64 count, int width, const float* scale, float* dst,
              i64 step) {
  const Vector factor = load_some(scale, width);
  for (i64 i = 0; i < count; ++i)
    store_some(dst + i * step, load_some(src + i * kPoint, width) * factor, width);
}

bool fft_peaks(const float* z, i64 points, float* re, float* im) {
  Vector real{}, imaginary{}, finite{};
  for (i64 i = 0; i < points * kPoint; i += kPoint) {
    const Point a = point(z + i);
    real = larger(real, a.re);
    imaginary = larger(imaginary, a.im);
    finite += a.re * all(0.0f) + a.im * all(0.0f);
  }
  store(re, real);
  store(im, imaginary);
  for (int lane = 0; lane < L; ++lane)
    if (finite[lane] != 0.0f) return false;
  return true;
}

void fft_scale(float* z, i64 points, const float* factor) {
  const Vector by = load(factor);
  for (i64 i = L; i < points * kPoint; i += kPoint) store(z + i, load(z + i) * by);
}

}  // namespace
}  // namespace jaxnets
