// The kernel gradient: which way to fill vectors.
#include "conv.h"
#include "fft.h"
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

}  // namespace

void kernel_grad(const Sizes& sizes, const float* x, const float* g, float* dk,
                 const Lengths& lengths, const Kernels& kernels, Team& team) {
  const bool sums = lengths[0] == 0;
  const Sizes s = sums ? simplest(sizes) : sizes;
  GradProblem p{};
  for (int a = 0; a < 3; ++a) p.axes[a] = forward_axis(s, a);
  p.x = {x, s.spatial, s.channels()};
  p.g = {g, s.positions, s.out()};
  p.batch = s.batch, p.groups = s.groups, p.fan_in = s.fan_in, p.fan_out = s.fan_out;
  p.dk = dk;
  if (!sums) return grad_fft(p, lengths, kernels, team);
  i64 row[3] = {1, 1, 0};
  if (flat(s)) {
    row[2] = s.batch * s.spatial[0] * s.spatial[1] * s.spatial[2];
    p.axes[0] = p.axes[1] = Axis{1, 1, 1, 1, 0, 1};
    p.axes[2] = Axis{row[2], row[2], 1, 1, 0, 1};
    p.batch = 1;
    p.x.size = p.g.size = row;
  }
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
