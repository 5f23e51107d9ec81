// Convolution and its gradients by transforms of tiles of the images.
#pragma once

#include "conv.h"
#include "grad_problem.h"
#include "problem.h"

namespace jaxnets {

// What the transforms of so many points cannot do, or null. Lengths have no prime
// factors but 2 and 3 and are no shorter than the window.
const char* fft_refuses(const Sizes& sizes, const i64 (&lengths)[3]);

// False, and nothing done that counts, if `elementwise` needs sums instead.
bool solve_fft(const Problem& problem, const Transforms& transforms,
               const Kernels& kernels, Team& team);
void grad_fft(const GradProblem& problem, const i64 (&lengths)[3],
              const Kernels& kernels, Team& team);

// The same where groups have several channels.
bool solve_fft_dense(const Problem& problem, const Transforms& transforms,
                     const Kernels& kernels, Team& team);
void grad_fft_dense(const GradProblem& problem, const i64 (&lengths)[3],
                    const Kernels& kernels, Team& team);

}  // namespace jaxnets
