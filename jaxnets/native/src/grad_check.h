// Whether transforms keep the error of a kernel gradient relative to its own terms.
//
// Entry (t, c, o) of n terms must have an error of at most n eps L(t, c, o), where L is
// the sum of |x||g|. Transforms of N points have one of up to eps log2(N) ||x_c|| ||g_o||,
// the norms being root sums of squares of channels. L is summed over a few positions
// alone, which is less than it and enough where the channels are not empty there.
#pragma once

#include "grad_problem.h"

namespace jaxnets {

bool transforms_keep_grad(const GradProblem& problem, const i64 (&lengths)[3],
                          const Kernels& kernels, Team& team);

}  // namespace jaxnets
