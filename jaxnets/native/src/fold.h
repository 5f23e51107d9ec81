// The input gradient as one product for all taps, whose results are shifted and added.
#pragma once

#include "geometry.h"
#include "team.h"

namespace jaxnets {

// Whether that takes less time than a correlation of g.
bool suits_fold(const Sizes& sizes, const Kernels& kernels);

// Whether its products are sums across lanes, and g is not transposed.
bool suits_dots(const Sizes& sizes, const Kernels& kernels);

void fold_input_grad(const Sizes& sizes, const float* g, const float* kernel, float* dx,
                     const Kernels& kernels, Team& team);

}  // namespace jaxnets
