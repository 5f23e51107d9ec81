// Numbers whose sums of products have no rounding error, such as small whole numbers.
#pragma once

#include "kernels.h"

namespace jaxnets {

struct Numbers {
  const float* data;
  i64 count;
};

// Whether all sums of `terms` products of numbers of a and b are exact in any order:
// they are multiples of one power of two, and no larger than 2^24 times that. Looks at
// the first few numbers alone if these have many digits.
bool sums_are_exact(const Numbers& a, const Numbers& b, i64 terms);

bool all_finite(const Numbers& numbers);

}  // namespace jaxnets
