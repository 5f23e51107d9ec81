// Convolution and its two gradients on arrays of float32 in channel-last form.
#pragma once

#include "geometry.h"
#include "team.h"

namespace jaxnets {

// Points of transforms, an axis each; zeros for a convolution by sums.
using Lengths = i64[3];

// The widest instructions that this processor has.
const Kernels& best_kernels();

void forward(const Sizes& sizes, const float* x, const float* kernel, float* y,
             const Lengths& lengths, const Kernels& kernels, Team& team);

void input_grad(const Sizes& sizes, const float* g, const float* kernel, float* dx,
                const Lengths& lengths, const Kernels& kernels, Team& team);

void kernel_grad(const Sizes& sizes, const float* x, const float* g, float* dk,
                 const Lengths& lengths, const Kernels& kernels, Team& team);

}  // namespace jaxnets
