// The inner loops for one instruction set; JAXNETS_KERNELS names the table.
//
// Results are held in registers while the sum runs: U pixels by V vectors of output
// channels, U of whose inputs are broadcast one by one and V of whose weights are read
// once. U * V + V + 1 registers are taken.
#include "kernels.h"

#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#define JAXNETS_LANES 16
#define JAXNETS_REGISTERS 32
#elif defined(__AVX2__)
#include <immintrin.h>
#define JAXNETS_LANES 8
#define JAXNETS_REGISTERS 16
#elif defined(__aarch64__)
#define JAXNETS_LANES 4
#define JAXNETS_REGISTERS 32
#else
#define JAXNETS_LANES 4
#define JAXNETS_REGISTERS 16
#endif

namespace jaxnets {
namespace {

constexpr int L = JAXNETS_LANES;
constexpr int kMostVectors = JAXNETS_REGISTERS == 32 ? 4 : 2;
constexpr int kMostPixels = 8;
constexpr int kMostEntries = JAXNETS_REGISTERS == 32 ? 14 : 6;
constexpr int kMostLaneEntries = JAXNETS_REGISTERS == 32 ? 24 : 12;

// Pixels whose results fit the registers beside V vectors each.
constexpr int most(int vectors, int limit) {
  int fit = (JAXNETS_REGISTERS - 1 - vectors) / vectors;
  return fit < limit ? fit : limit;
}

typedef float Vector __attribute__((vector_size(L * sizeof(float))));
typedef float Unaligned
    __attribute__((vector_size(L * sizeof(float)), aligned(4), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }
inline Vector all(float value) { return value - Vector{}; }

// The first `count` floats, the rest zero; all of them from L on, none below 1.
inline Vector load_some(const float* p, int count) {
  if (count >= L) return load(p);
  Vector v{};
  if (count > 0) std::memcpy(&v, p, count * sizeof(float));
  return v;
}

inline void store_some(float* p, Vector v, int count) {
  if (count >= L) {
    store(p, v);
  } else if (count > 0) {
    std::memcpy(p, &v, count * sizeof(float));
  }
}

template <int U, int V>
void dense_block(const Row& row, const i64* offsets, i64 runs, i64 length,
                 const float* w, int width, bool add) {
  Vector sums[U][V];
  for (int u = 0; u < U; ++u) {
    for (int v = 0; v < V; ++v) {
      const float* y = row.y + u * row.y_step + v * L;
      sums[u][v] = add ? load_some(y, width - v * L) : Vector{};
    }
  }
  for (i64 r = 0; r < runs; ++r) {
    const float* x = row.x + offsets[r];
    for (i64 i = 0; i < length; ++i, w += V * L) {
      Vector weights[V];
      for (int v = 0; v < V; ++v) weights[v] = load(w + v * L);
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) {
        const Vector value = all(x[u * row.x_step + i]);
        for (int v = 0; v < V; ++v) sums[u][v] += value * weights[v];
      }
    }
  }
  for (int u = 0; u < U; ++u) {
    for (int v = 0; v < V; ++v) {
      float* y = row.y + u * row.y_step + v * L;
      store_some(y, sums[u][v], width - v * L);
    }
  }
}

// A row in blocks of nearly equal numbers of pixels.
template <int V, int U = most(V, kMostPixels)>
void dense_blocks(Row row, int pixels, const i64* offsets, i64 runs, i64 length,
                  const float* w, int width, bool add) {
  if constexpr (U > 1) {
    if (pixels < U) {
      dense_blocks<V, U - 1>(row, pixels, offsets, runs, length, w, width, add);
      return;
    }
  }
  dense_block<U, V>(row, offsets, runs, length, w, width, add);
}

template <int V>
void dense_row(const Row& whole, const i64* offsets, i64 runs, i64 length,
               const float* w, int width, bool add) {
  constexpr i64 kPixels = most(V, kMostPixels);
  Row row = whole;
  i64 blocks = (whole.count + kPixels - 1) / kPixels;
  for (i64 left = whole.count; left > 0; --blocks) {
    const i64 pixels = (left + blocks - 1) / blocks;
    dense_blocks<V>(row, static_cast<int>(pixels), offsets, runs, length, w, width, add);
    row.x += pixels * row.x_step;
    row.y += pixels * row.y_step;
    left -= pixels;
  }
}

void dense(const Row& row, const i64* offsets, i64 runs, i64 length, const float* w,
           int vectors, int width, bool add) {
  switch (vectors) {
    case 1: return dense_row<1>(row, offsets, runs, length, w, width, add);
    case 2: return dense_row<2>(row, offsets, runs, length, w, width, add);
    case 3:
      if constexpr (kMostVectors >= 3)
        return dense_row<3>(row, offsets, runs, length, w, width, add);
      return;
    default:
      if constexpr (kMostVectors >= 4)
        return dense_row<4>(row, offsets, runs, length, w, width, add);
      return;
  }
}

template <int U>
void lanes_block(const Row& row, const i64* offsets, const i64* weights, i64 terms,
                 const float* w, int width) {
  Vector sums[U];
  for (int u = 0; u < U; ++u) sums[u] = Vector{};
  for (i64 t = 0; t < terms; ++t) {
    const float* x = row.x + offsets[t];
    const Vector weight = load(w + weights[t]);
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) sums[u] += load(x + u * row.x_step) * weight;
  }
  for (int u = 0; u < U; ++u) store_some(row.y + u * row.y_step, sums[u], width);
}

template <int U = kMostPixels>
void lanes_blocks(const Row& row, int pixels, const i64* offsets, const i64* weights,
                  i64 terms, const float* w, i64 blocks, int width) {
  if constexpr (U > 1) {
    if (pixels < U)
      return lanes_blocks<U - 1>(row, pixels, offsets, weights, terms, w, blocks, width);
  }
  for (i64 b = 0; b < blocks * L; b += L) {
    const Row here{row.x + b, row.x_step, row.y + b, row.y_step, U};
    lanes_block<U>(here, offsets, weights, terms, w + b, width);
  }
}

void lanes_only(const Row& whole, const i64* offsets, const i64* weights, i64 terms,
                const float* w, i64 blocks, i64 pixels, int width) {
  Row row = whole;
  const i64 most = pixels < kMostPixels ? pixels : kMostPixels;
  i64 pieces = (whole.count + most - 1) / most;
  for (i64 left = whole.count; left > 0; --pieces) {
    const i64 count = (left + pieces - 1) / pieces;
    lanes_blocks<>(row, static_cast<int>(count), offsets, weights, terms, w, blocks,
                   width);
    row.x += count * row.x_step;
    row.y += count * row.y_step;
    left -= count;
  }
}

template <int E, int V>
void grad_block(const Pairs& pairs, const float* x, float* dk, i64 dk_step, int width) {
  Vector sums[E][V];
  for (int e = 0; e < E; ++e)
    for (int v = 0; v < V; ++v) sums[e][v] = Vector{};
  for (i64 r = 0; r < pairs.rows; ++r) {
    const float* a = x + r * pairs.x_row;
    const float* g = pairs.g + r * pairs.g_row;
    for (i64 p = 0; p < pairs.count; ++p) {
      Vector values[V];
      for (int v = 0; v < V; ++v) values[v] = load(g + v * L);
#pragma GCC unroll 16
      for (int e = 0; e < E; ++e) {
        const Vector value = all(a[e]);
        for (int v = 0; v < V; ++v) sums[e][v] += value * values[v];
      }
      a += pairs.x_step;
      g += pairs.g_step;
    }
  }
  for (int e = 0; e < E; ++e) {
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
    case 1: return grad_run<1>(pairs, length, dk, dk_step, width);
    case 2: return grad_run<2>(pairs, length, dk, dk_step, width);
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

template <int E>
void lanes_grad_block(const Pairs& pairs, const float* x, i64 entry_step, float* dk,
                      i64 dk_step) {
  Vector sums[E];
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

typedef std::int32_t Index __attribute__((vector_size(L * sizeof(std::int32_t))));

inline Vector permuted(Vector v, Index index) {
#if defined(__AVX512F__)
  return (Vector)_mm512_permutexvar_ps((__m512i)index, (__m512)v);
#elif defined(__AVX2__)
  return (Vector)_mm256_permutevar8x32_ps((__m256)v, (__m256i)index);
#else
  Vector result{};
  for (int lane = 0; lane < L; ++lane) result[lane] = v[index[lane] & (L - 1)];
  return result;
#endif
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
    const Vector v = src + L <= end ? load(src) : load_some(src, static_cast<int>(span));
    for (i64 j = 0; j < terms; ++j, dst += L) {
      Index lanes;
      std::memcpy(&lanes, index + j * L, sizeof lanes);
      const Index there = lanes >= 0;
      store(dst, (Vector)((Index)permuted(v, lanes) & there));
    }
  }
}

}  // namespace

extern const Kernels JAXNETS_KERNELS = {
    JAXNETS_NAME, L,          kMostVectors,    dense,
    lanes_only,   dense_grad, lanes_only_grad, spread,
};

}  // namespace jaxnets
