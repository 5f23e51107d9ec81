// The steps of a transform over up to three axes.
#pragma once

#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <utility>
#include <vector>

#include "kernels.h"

namespace jaxnets {

// The roots of unity w^(q j), 0 < q < radix, for j < length / radix: kept for as long
// as the process, they take as long to compute as a transform.
inline const float* turns_of(int radix, i64 length) {
  static std::mutex mutex;
  static auto& tables = *new std::map<std::pair<int, i64>, std::vector<float>>;
  const std::lock_guard lock(mutex);
  std::vector<float>& turns = tables[{radix, length}];
  if (turns.empty())
    for (i64 j = 0; j < length / radix; ++j)
      for (int q = 1; q < radix; ++q) {
        const double angle = -2 * std::numbers::pi * static_cast<double>(q * j) /
                             static_cast<double>(length);
        turns.push_back(static_cast<float>(std::cos(angle)));
        turns.push_back(static_cast<float>(std::sin(angle)));
      }
  return turns.data();
}

// Radices of a length that has no prime factors but 2 and 3; empty for any other, and
// for 1.
inline std::vector<int> radices_of(i64 length) {
  std::vector<int> radices;
  for (; length % 3 == 0; length /= 3) radices.push_back(3);
  int twos = 0;
  for (; length % 2 == 0; length /= 2) ++twos;
  if (length != 1) return {};
  if (twos == 1) radices.push_back(2);
  if (twos > 1)
    for (int fours = (3 - twos % 3) % 3; fours > 0; --fours, twos -= 2)
      radices.push_back(4);
  for (; twos > 1; twos -= 3) radices.push_back(8);
  return radices;
}

struct FftPlan {
  std::vector<FftStep> steps;
  i64 points = 1;

  explicit FftPlan(const i64 (&lengths)[3]) {
    for (const i64 length : lengths) points *= length;
    i64 inner = points;
    for (i64 length : lengths) {
      inner /= length;
      for (const int radix : radices_of(length)) {
        steps.push_back({radix, length * inner, inner, turns_of(radix, length)});
        length /= radix;
      }
    }
  }

  int count() const { return static_cast<int>(steps.size()); }
};

}  // namespace jaxnets
