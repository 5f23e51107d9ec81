// Convolution and its gradients by transforms of tiles of the images.
#pragma once

#include "grad_problem.h"
#include "problem.h"

namespace jaxnets {

// What the transforms of so many points cannot do, or null. Lengths have no prime
// factors but 2 and 3 and are no shorter than the window.
const char* fft_refuses(const Sizes& sizes, const i64 (&lengths)[3]);

void solve_fft(const Problem& problem, const i64 (&lengths)[3], const Kernels& kernels,
               Team& team);
void grad_fft(const GradProblem& problem, const i64 (&lengths)[3],
              const Kernels& kernels, Team& team);

// The same where groups have several channels.
void solve_fft_dense(const Problem& problem, const i64 (&lengths)[3],
                     const Kernels& kernels, Team& team);
void grad_fft_dense(const GradProblem& problem, const i64 (&lengths)[3],
                    const Kernels& kernels, Team& team);

}  // namespace jaxnets
