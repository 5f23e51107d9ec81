// Two tiles in one transform, brought to about the same size.
//
// What a transform rounds off is relative to the larger of the two.
#pragma once

#include <cstring>

#include "fft_tiles.h"

namespace jaxnets {

constexpr int kMostLanes = 16;
inline constexpr float kOnes[kMostLanes] = {1, 1, 1, 1, 1, 1, 1, 1,
                                            1, 1, 1, 1, 1, 1, 1, 1};

// Exponents of parts that are left as they are, and how far they are at most.
constexpr int kNearby = 3, kFarApart = 100;

inline int exponent(float value) {
  std::int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >> 23 & 255;
}

inline float power_of_two(int exponent) {
  const std::int32_t bits = (exponent + 127) << 23;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// What imaginary parts are multiplied by, a lane each, and what undoes it.
struct Balance {
  alignas(64) float up[kMostLanes], undo[kMostLanes];
  bool even = true;

  Balance() {
    std::fill_n(up, kMostLanes, 1.0f);
    std::fill_n(undo, kMostLanes, 1.0f);
  }

  void undo_in(const FftLayout& fft, float* z) const {
    if (!even) fft.kernels.fft_scale(z, fft.plan.points, undo);
  }
};

// Multiplies imaginary parts of `vectors` arrays z, `step` floats apart, by the power
// of two that makes them about as large as the real ones, alike for the lanes of a slot
// of `slot` lanes. False, and nothing done, if there is a number that is not finite.
inline bool balance(const FftLayout& fft, float* z, i64 vectors, i64 step, i64 slot,
                    Balance& found) {
  const int lanes = fft.kernels.lanes;
  float re[kMostLanes] = {}, im[kMostLanes] = {};
  for (i64 v = 0; v < vectors; ++v) {
    alignas(64) float real[kMostLanes], imaginary[kMostLanes];
    if (!fft.kernels.fft_peaks(z + v * step, fft.plan.points, real, imaginary))
      return false;
    for (int lane = 0; lane < lanes; ++lane) {
      const i64 first = lane / slot * slot;
      re[first] = std::max(re[first], real[lane]);
      im[first] = std::max(im[first], imaginary[lane]);
    }
  }
  found.even = true;
  for (int lane = 0; lane < lanes; ++lane) {
    const i64 first = lane / slot * slot;
    int apart = 0;
    if (re[first] > 0 && im[first] > 0)
      apart = exponent(re[first]) - exponent(im[first]);
    apart = std::clamp(apart, -kFarApart, kFarApart);
    if (apart >= -kNearby && apart <= kNearby) apart = 0;
    found.up[lane] = power_of_two(apart);
    found.undo[lane] = power_of_two(-apart);
    found.even = found.even && apart == 0;
  }
  if (!found.even)
    for (i64 v = 0; v < vectors; ++v)
      fft.kernels.fft_scale(z + v * step, fft.plan.points, found.up);
  return true;
}

}  // namespace jaxnets
