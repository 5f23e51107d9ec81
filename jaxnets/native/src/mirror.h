// Convolutions towards few channels as input gradients of those that go the other way.
#pragma once

#include "geometry.h"
#include "team.h"

namespace jaxnets {

// Whether a convolution is such an input gradient, and faster when it is folded.
bool suits_mirror(const Sizes& sizes, const Kernels& kernels);

void mirror_forward(const Sizes& sizes, const float* x, const float* kernel, float* y,
                    const Kernels& kernels, Team& team);

}  // namespace jaxnets
