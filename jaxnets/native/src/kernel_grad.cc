// The kernel gradient: which way to fill vectors.
#include "conv.h"
#include "fft.h"
#include "grad_check.h"
#include "grad_problem.h"

namespace jaxnets {
namespace {

// All cells in one row where every result meets one cell, its own.
bool flat(const Sizes& s) {
  for (int a = 0; a < 3; ++a)
    if (s.window[a] != 1 || s.strides[a] != 1 || s.lo[a] != 0 ||
        s.spatial[a] != s.positions[a])
      return false;
  return true;
}

GradProblem problem(const Sizes& s, const float* x, const float* g, float* dk) {
  GradProblem p{};
  for (int a = 0; a < 3; ++a) p.axes[a] = forward_axis(s, a);
  p.x = {x, s.spatial, s.channels()};
  p.g = {g, s.positions, s.out()};
  p.batch = s.batch, p.groups = s.groups, p.fan_in = s.fan_in, p.fan_out = s.fan_out;
  p.dk = dk;
  return p;
}

}  // namespace

void kernel_grad(const Sizes& sizes, const float* x, const float* g, float* dk,
                 const Transforms& transforms, const Kernels& kernels, Team& team) {
  if (transforms.any()) {
    const GradProblem p = problem(sizes, x, g, dk);
    if (!transforms.elementwise ||
        transforms_keep_grad(p, transforms.lengths, kernels, team))
      return grad_fft(p, transforms.lengths, kernels, team);
  }
  const Sizes s = simplest(sizes);
  GradProblem p = problem(s, x, g, dk);
  i64 row[3] = {1, 1, 0};
  if (flat(s)) {
    row[2] = p.batch * s.spatial[0] * s.spatial[1] * s.spatial[2];
    p.axes[0] = p.axes[1] = Axis{1, 1, 1, 1, 0, 1};
    p.axes[2] = Axis{row[2], row[2], 1, 1, 0, 1};
    p.batch = 1;
    p.x.size = p.g.size = row;
  }
  grad_sums(p, kernels, team);
}

void grad_sums(const GradProblem& p, const Kernels& kernels, Team& team) {
  if (suits_grad_mirror(p, kernels)) {
    grad_mirror(p, kernels, team);
  } else if (!suits_lanes(p.axes, p.groups, p.fan_in, p.fan_out, kernels.lanes)) {
    grad_dense(p, kernels, team);
  } else if (suits_grad_depthwise(p, kernels)) {
    grad_depthwise(p, kernels, team);
  } else {
    grad_lanes(p, kernels, team);
  }
}

}  // namespace jaxnets
