// Vectors of floats in the instruction set that a file is compiled for.
//
// Included by kernels.cc alone: all of it has internal linkage.
#pragma once

#include <cstring>

#include "kernels.h"

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
constexpr int kMostLaneSums = JAXNETS_REGISTERS == 32 ? 16 : 8;
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

// The larger of `largest`, which is not negative, and the size of v.
inline Vector larger(Vector largest, Vector v) {
  const Vector size = v < 0.0f ? -v : v;
  return size > largest ? size : largest;
}

// A mask of the first `count` lanes, fewer than L.
#if defined(__AVX512F__)
inline __mmask16 first(int count) {
  return static_cast<__mmask16>((1u << (count > 0 ? count : 0)) - 1);
}
#elif defined(__AVX2__)
inline __m256i first(int count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes);
}
#endif

// The first `count` floats, the rest zero; all of them from L on, none below 1.
inline Vector load_some(const float* p, int count) {
  if (count >= L) return load(p);
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_loadu_ps(first(count), p);
#elif defined(__AVX2__)
  return (Vector)_mm256_maskload_ps(p, first(count));
#else
  Vector v{};
  for (int lane = 0; lane < L - 1; ++lane)
    if (lane < count) v[lane] = p[lane];
  return v;
#endif
}

inline void store_some(float* p, Vector v, int count) {
  if (count >= L) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, first(count), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, first(count), (__m256)v);
#else
  if (count > 0) std::memcpy(p, &v, count * sizeof(float));
#endif
}

// As store_some; whole vectors on their border go straight to memory if `stream` is
// true. Otherwise every line of a large array is read before it is overwritten.
inline void store_past(float* p, Vector v, int count, bool stream) {
#if defined(__AVX512F__)
  if (stream && count >= L && reinterpret_cast<std::uintptr_t>(p) % sizeof(v) == 0)
    return _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
  if (stream && count >= L && reinterpret_cast<std::uintptr_t>(p) % sizeof(v) == 0)
    return _mm256_stream_ps(p, (__m256)v);
#else
  (void)stream;
#endif
  store_some(p, v, count);
}

// What was streamed is seen by whoever sees the task end.
inline void end_stream() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
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

}  // namespace
}  // namespace jaxnets
