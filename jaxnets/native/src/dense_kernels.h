// Inner loops with the outputs of one group in a vector.
//
// Results are held in registers while the sum runs: U pixels by V vectors of output
// channels, U of whose inputs are broadcast one by one and V of whose weights are read
// once. U * V + V + 1 registers are taken.
#pragma once

#include "vectors.h"

namespace jaxnets {
namespace {

template <int U, int V>
void dense_block(const Row& row, const i64* offsets, i64 runs, i64 length,
                 const float* w, int width, bool add) {
  Vector sums[U][V];
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[u][v] = Vector{};
  if (add) {
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v)
        sums[u][v] = load_some(row.y + u * row.y_step + v * L, width - v * L);
  }
  if (row.fetch) {
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) __builtin_prefetch(row.y + u * row.y_step + v * L, 1);
  }
  for (i64 r = 0; r < runs; ++r) {
    const float* x = row.x + offsets[r];
    for (i64 i = 0; i < length; ++i, w += V * L) {
      Vector weights[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) weights[v] = load(w + v * L);
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) {
        const Vector value = all(x[u * row.x_step + i]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[u][v] += value * weights[v];
      }
    }
  }
  // What is stored could be a field of the row: read once, not for every vector.
  float* const y = row.y;
  const i64 step = row.y_step;
  if (row.stream) {
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v)
        store_past(y + u * step + v * L, sums[u][v], width - v * L, true);
    return;
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const int count = width - v * L;
    if (count >= L) {
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) store(y + u * step + v * L, sums[u][v]);
    } else if (count > 0) {
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) store_some(y + u * step + v * L, sums[u][v], count);
    }
  }
}

// A row in blocks of nearly equal numbers of pixels.
template <int V, int U = most(V, kMostPixels)>
void dense_blocks(Row row, int pixels, const i64* offsets, i64 runs, i64 length,
                  const float* w, i64 panel, i64 width, bool add) {
  if constexpr (U > 1) {
    if (pixels < U) {
      dense_blocks<V, U - 1>(row, pixels, offsets, runs, length, w, panel, width, add);
      return;
    }
  }
  for (i64 left = width; left > 0; left -= V * L, row.y += V * L, w += panel)
    dense_block<U, V>(row, offsets, runs, length, w,
                      static_cast<int>(left < V * L ? left : V * L), add);
}

template <int V>
void dense_row(const Row& whole, const i64* offsets, i64 runs, i64 length,
               const float* w, i64 panel, i64 width, bool add) {
  constexpr i64 kPixels = most(V, kMostPixels);
  Row row = whole;
  i64 blocks = (whole.count + kPixels - 1) / kPixels;
  for (i64 left = whole.count; left > 0; --blocks) {
    const i64 pixels = (left + blocks - 1) / blocks;
    dense_blocks<V>(row, static_cast<int>(pixels), offsets, runs, length, w, panel,
                    width, add);
    row.x += pixels * row.x_step;
    row.y += pixels * row.y_step;
    left -= pixels;
  }
}

void dense(const Row& row, const i64* offsets, i64 runs, i64 length, const float* w,
           i64 panel, int vectors, i64 width, bool add) {
  switch (vectors) {
    case 1:
      return dense_row<1>(row, offsets, runs, length, w, panel, width, add);
    case 2:
      return dense_row<2>(row, offsets, runs, length, w, panel, width, add);
    case 3:
      if constexpr (kMostVectors >= 3)
        return dense_row<3>(row, offsets, runs, length, w, panel, width, add);
      return;
    default:
      if constexpr (kMostVectors >= 4)
        return dense_row<4>(row, offsets, runs, length, w, panel, width, add);
      return;
  }
}

template <int E, int V>
void grad_block(const Pairs& pairs, const float* x, float* dk, i64 dk_step, int width) {
  Vector sums[E][V];
#pragma GCC unroll 16
  for (int e = 0; e < E; ++e)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[e][v] = Vector{};
  for (i64 r = 0; r < pairs.rows; ++r) {
    const float* a = x + r * pairs.x_row;
    const float* g = pairs.g + r * pairs.g_row;
    for (i64 p = 0; p < pairs.count; ++p) {
      Vector values[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) values[v] = load(g + v * L);
#pragma GCC unroll 16
      for (int e = 0; e < E; ++e) {
        const Vector value = all(a[e]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[e][v] += value * values[v];
      }
      a += pairs.x_step;
      g += pairs.g_step;
    }
  }
#pragma GCC unroll 16
  for (int e = 0; e < E; ++e) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      float* to = dk + e * dk_step + v * L;
      const int count = width - v * L;
      store_some(to, load_some(to, count) + sums[e][v], count);
    }
  }
}

template <int V, int E = most(V, kMostEntries)>
void grad_blocks(const Pairs& pairs, const float* x, int entries, float* dk,
                 i64 dk_step, int width) {
  if constexpr (E > 1) {
    if (entries < E)
      return grad_blocks<V, E - 1>(pairs, x, entries, dk, dk_step, width);
  }
  grad_block<E, V>(pairs, x, dk, dk_step, width);
}

template <int V>
void grad_run(const Pairs& pairs, i64 length, float* dk, i64 dk_step, int width) {
  constexpr i64 kEntries = most(V, kMostEntries);
  i64 blocks = (length + kEntries - 1) / kEntries;
  for (i64 done = 0; done < length; --blocks) {
    const i64 entries = (length - done + blocks - 1) / blocks;
    grad_blocks<V>(pairs, pairs.x + done, static_cast<int>(entries),
                   dk + done * dk_step, dk_step, width);
    done += entries;
  }
}

void dense_grad(const Pairs& pairs, i64 length, float* dk, i64 dk_step, int vectors,
                int width) {
  switch (vectors) {
    case 1:
      return grad_run<1>(pairs, length, dk, dk_step, width);
    case 2:
      return grad_run<2>(pairs, length, dk, dk_step, width);
    case 3:
      if constexpr (kMostVectors >= 3)
        return grad_run<3>(pairs, length, dk, dk_step, width);
      return;
    default:
      if constexpr (kMostVectors >= 4)
        return grad_run<4>(pairs, length, dk, dk_step, width);
      return;
  }
}

}  // namespace
}  // namespace jaxnets
