// Inner loops with one output of every lane's own group: products lane by lane.
#pragma once

#include "vectors.h"

namespace jaxnets {
namespace {

// U results of V vectors each, or of `width` floats.
template <int U, int V, bool Whole = true>
[[gnu::noinline]] void lanes_block(const Row& row, const i64* offsets,
                                   const i64* weights, i64 terms, const float* w,
                                   int width) {
  const float* x[U];
#pragma GCC unroll 16
  for (int u = 0; u < U; ++u) x[u] = row.x + u * row.x_step;
  Vector sums[V][U];
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v)
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) sums[v][u] = Vector{};
  for (i64 t = 0; t < terms; ++t) {
    const i64 offset = offsets[t];
    const float* weight = w + weights[t];
    Vector factors[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) factors[v] = load(weight + v * L);
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) {
      const float* at = x[u] + offset;
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v)
        sums[v][u] += (Whole ? load(at + v * L) : load_some(at, width)) * factors[v];
    }
  }
  float* const y = row.y;
  const i64 y_step = row.y_step;
  const bool stream = row.stream;
#pragma GCC unroll 16
  for (int u = 0; u < U; ++u)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v)
      store_past(y + u * y_step + v * L, sums[v][u], Whole ? L : width, stream);
}

template <int U, int V>
void lanes_vectors(const Row& row, int vectors, const i64* offsets, const i64* weights,
                   i64 terms, const float* w) {
  if constexpr (V > 1) {
    if (vectors < V)
      return lanes_vectors<U, V - 1>(row, vectors, offsets, weights, terms, w);
  }
  lanes_block<U, V>(row, offsets, weights, terms, w, L);
}

template <int U = kMostPixels>
void lanes_pixels(const Row& row, int pixels, const i64* offsets, const i64* weights,
                  i64 terms, const float* w, i64 blocks, int width) {
  if constexpr (U > 1) {
    if (pixels < U)
      return lanes_pixels<U - 1>(row, pixels, offsets, weights, terms, w, blocks,
                                 width);
  }
  constexpr int most = kMostLaneSums / U;
  const i64 whole = width < L ? blocks - 1 : blocks;
  Row here = row;
  i64 pieces = (whole + most - 1) / most;
  for (i64 left = whole; left > 0; --pieces) {
    const i64 vectors = (left + pieces - 1) / pieces;
    lanes_vectors<U, most>(here, static_cast<int>(vectors), offsets, weights, terms, w);
    here.x += vectors * L, here.y += vectors * L, w += vectors * L;
    left -= vectors;
  }
  if (width < L) lanes_block<U, 1, false>(here, offsets, weights, terms, w, width);
}

void lanes_only(const Row& whole, const i64* offsets, const i64* weights, i64 terms,
                const float* w, i64 blocks, i64 pixels, int width) {
  Row row = whole;
  const i64 most = pixels < kMostPixels ? pixels : kMostPixels;
  i64 pieces = (whole.count + most - 1) / most;
  for (i64 left = whole.count; left > 0; --pieces) {
    const i64 count = (left + pieces - 1) / pieces;
    lanes_pixels<>(row, static_cast<int>(count), offsets, weights, terms, w, blocks,
                   width);
    row.x += count * row.x_step;
    row.y += count * row.y_step;
    left -= count;
  }
}

template <int E>
void lanes_grad_block(const Pairs& pairs, const float* x, i64 entry_step, float* dk,
                      i64 dk_step) {
  Vector sums[E];
#pragma GCC unroll 24
  for (int e = 0; e < E; ++e) sums[e] = Vector{};
  for (i64 r = 0; r < pairs.rows; ++r) {
    const float* a = x + r * pairs.x_row;
    const float* g = pairs.g + r * pairs.g_row;
    for (i64 p = 0; p < pairs.count; ++p) {
      const Vector value = load(g);
#pragma GCC unroll 24
      for (int e = 0; e < E; ++e) sums[e] += load(a + e * entry_step) * value;
      a += pairs.x_step;
      g += pairs.g_step;
    }
  }
#pragma GCC unroll 24
  for (int e = 0; e < E; ++e) {
    float* to = dk + e * dk_step;
    store(to, load(to) + sums[e]);
  }
}

template <int E = kMostLaneEntries>
void lanes_grad_blocks(const Pairs& pairs, const float* x, int entries, i64 entry_step,
                       float* dk, i64 dk_step) {
  if constexpr (E > 1) {
    if (entries < E)
      return lanes_grad_blocks<E - 1>(pairs, x, entries, entry_step, dk, dk_step);
  }
  lanes_grad_block<E>(pairs, x, entry_step, dk, dk_step);
}

void lanes_only_grad(const Pairs& pairs, i64 length, i64 entry_step, float* dk,
                     i64 dk_step) {
  i64 blocks = (length + kMostLaneEntries - 1) / kMostLaneEntries;
  for (i64 done = 0; done < length; --blocks) {
    const i64 entries = (length - done + blocks - 1) / blocks;
    lanes_grad_blocks<>(pairs, pairs.x + done * entry_step, static_cast<int>(entries),
                        entry_step, dk + done * dk_step, dk_step);
    done += entries;
  }
}

void spread(const float* src, i64 step, const float* end, i64 cells,
            const std::int32_t* index, i64 terms, i64 span, float* dst) {
  for (i64 cell = 0; cell < cells; ++cell, src += step) {
    if (span > L) {
      for (i64 n = 0; n < terms * L; ++n) {
        *dst++ = index[n] < 0 ? 0.0f : src[index[n]];
      }
      continue;
    }
    const Vector v =
        src + L <= end ? load(src) : load_some(src, static_cast<int>(span));
    for (i64 j = 0; j < terms; ++j, dst += L) {
      Index lanes;
      std::memcpy(&lanes, index + j * L, sizeof lanes);
      const Index there = lanes >= 0;
      store(dst, (Vector)((Index)permuted(v, lanes) & there));
    }
  }
}

}  // namespace
}  // namespace jaxnets
