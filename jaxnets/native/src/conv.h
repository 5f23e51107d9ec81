// Convolution and its two gradients on arrays of float32 in channel-last form.
#pragma once

#include "geometry.h"
#include "team.h"

namespace jaxnets {

// How transforms are done: points of them, an axis each, zeros for a convolution by
// sums; and whether every result must be accurate relative to its own terms, so that
// those that transforms do not keep are summed.
struct Transforms {
  i64 lengths[3] = {};
  bool elementwise = true;

  bool any() const { return lengths[0] != 0; }
};

// The widest instructions that this processor has.
const Kernels& best_kernels();

void forward(const Sizes& sizes, const float* x, const float* kernel, float* y,
             const Transforms& transforms, const Kernels& kernels, Team& team);

void input_grad(const Sizes& sizes, const float* g, const float* kernel, float* dx,
                const Transforms& transforms, const Kernels& kernels, Team& team);

void kernel_grad(const Sizes& sizes, const float* x, const float* g, float* dk,
                 const Transforms& transforms, const Kernels& kernels, Team& team);

}  // namespace jaxnets
