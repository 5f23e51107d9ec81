// What a tile holds before it is transformed: sizes, and sums over its windows.
#pragma once

#include "fft_kernels.h"

namespace jaxnets {
namespace {

void fft_sizes(const float* z, i64 points, float* peaks, float* energies) {
  Vector peak[2] = {load(peaks), load(peaks + L)};
  Vector energy[2] = {load(energies), load(energies + L)};
  for (i64 i = 0; i < points * kPoint; i += kPoint) {
    const Point a = point(z + i);
    peak[0] = larger(peak[0], a.re);
    peak[1] = larger(peak[1], a.im);
    energy[0] += a.re * a.re;
    energy[1] += a.im * a.im;
  }
  for (int part = 0; part < 2; ++part) {
    store(peaks + part * L, peak[part]);
    store(energies + part * L, energy[part]);
  }
}

inline Vector at_most_one(Vector v) { return v < 1.0f ? v : all(1.0f); }
inline Vector size_of(Vector v) { return v < 0.0f ? -v : v; }

void fft_blocks(const float* z, const WindowBlocks& grid, const float* scale,
                float* sums) {
  const Vector re = load(scale), im = load(scale + L);
  for (i64 i = 0; i < grid.length[0]; ++i)
    for (i64 j = 0; j < grid.length[1]; ++j) {
      const i64 plane = i / grid.block[0] * grid.blocks[1] + j / grid.block[1];
      float* sum = sums + plane * grid.blocks[2] * kPoint;
      for (i64 k = 0; k < grid.length[2]; sum += kPoint) {
        const i64 rest = grid.length[2] - k;
        const i64 end = k + (rest < grid.block[2] ? rest : grid.block[2]);
        Point s = point(sum);
        for (; k < end; ++k, z += kPoint) {
          const Point a = point(z);
          s.re += at_most_one(size_of(a.re) * re);
          s.im += at_most_one(size_of(a.im) * im);
        }
        put(sum, s);
      }
    }
}

// sums[q] = the sum of sums[q + first], ..., sums[q + first + count - 1] along an axis
// of `size` entries, `inner` points apart, as many as there are.
inline void slide(float* sums, i64 outer, i64 size, i64 inner, i64 first, i64 count) {
  for (i64 o = 0; o < outer; ++o, sums += size * inner * kPoint)
    for (i64 q = 0; q < size; ++q)
      for (i64 i = 0; i < inner; ++i) {
        const i64 end = q + first + count < size ? q + first + count : size;
        Point s{};
        for (i64 j = q + first; j < end; ++j)
          s = s + point(sums + (j * inner + i) * kPoint);
        put(sums + (q * inner + i) * kPoint, s);
      }
}

bool fft_windows(float* sums, const WindowBlocks& grid, const float* least) {
  i64 outer = 1, inner = grid.blocks[0] * grid.blocks[1] * grid.blocks[2];
  for (int a = 0; a < 3; ++a) {
    inner /= grid.blocks[a];
    if (grid.window[a] != 1 || grid.first[a] != 0)
      slide(sums, outer, grid.blocks[a], inner, grid.first[a], grid.window[a]);
    outer *= grid.blocks[a];
  }
  const Point wanted = point(least);
  Vector short_of{};
  for (i64 i = 0; i < grid.results[0]; ++i)
    for (i64 j = 0; j < grid.results[1]; ++j) {
      const i64 row = (i * grid.blocks[1] + j) * grid.blocks[2];
      for (i64 k = row; k < row + grid.results[2]; ++k) {
        const Point s = point(sums + k * kPoint);
        short_of += s.re >= wanted.re ? Vector{} : all(1.0f);
        short_of += s.im >= wanted.im ? Vector{} : all(1.0f);
      }
    }
  for (int lane = 0; lane < L; ++lane)
    if (short_of[lane] != 0.0f) return false;
  return true;
}

}  // namespace
}  // namespace jaxnets
