#include "exact.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace jaxnets {
namespace {

constexpr int kDigits = 24;

// What all numbers are multiples of, and the largest.
struct Lattice {
  int unit = 1 << 10;  // its exponent; so large for zeros alone
  float peak = 0;

  // Whether so few digits hold all numbers.
  bool holds(const Numbers& numbers) {
    for (i64 i = 0; i < numbers.count; ++i) {
      const float size = std::abs(numbers.data[i]);
      if (size == 0) continue;
      const auto bits = std::bit_cast<std::uint32_t>(size);
      const int exponent = static_cast<int>(bits >> 23);
      if (exponent == 255) return false;
      const std::uint32_t fraction = bits & 0x7fffff;
      const std::uint32_t digits = exponent ? fraction | 1 << 23 : fraction;
      const int last = (exponent ? exponent : 1) - 150 + std::countr_zero(digits);
      if (last >= unit && size <= peak) continue;
      unit = last < unit ? last : unit;
      peak = size > peak ? size : peak;
      if (std::ldexp(peak, -unit) > 1 << kDigits) return false;
    }
    return true;
  }
};

}  // namespace

bool all_finite(const Numbers& numbers) {
  constexpr i64 kBlock = 64;
  i64 i = 0;
  for (; i + kBlock <= numbers.count; i += kBlock) {
    bool finite = true;
    for (i64 j = i; j < i + kBlock; ++j)
      finite &= std::abs(numbers.data[j]) <= std::numeric_limits<float>::max();
    if (!finite) return false;
  }
  for (; i < numbers.count; ++i)
    if (!(std::abs(numbers.data[i]) <= std::numeric_limits<float>::max())) return false;
  return true;
}

bool sums_are_exact(const Numbers& a, const Numbers& b, i64 terms) {
  Lattice first, second;
  if (!first.holds(a) || !second.holds(b)) return false;
  if (first.peak == 0 || second.peak == 0) return true;
  const double most = static_cast<double>(first.peak) * second.peak;
  const double units = std::ldexp(most, -first.unit - second.unit);
  return units * static_cast<double>(terms) <= 1 << kDigits;
}

}  // namespace jaxnets
