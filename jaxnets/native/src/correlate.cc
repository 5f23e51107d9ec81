// The convolution and its input gradient, which is one for each phase of the strides.
#include <cstring>

#include "conv.h"
#include "exact.h"
#include "fft.h"
#include "fold.h"
#include "mirror.h"
#include "problem.h"

namespace jaxnets {
namespace {

// All pixels in one row where every result meets one cell, its own.
bool is_flat(const Problem& p) {
  for (int a = 0; a < 3; ++a) {
    const Axis& axis = p.axes[a];
    if (axis.taps != 1 || axis.first != 0 || axis.step != 1 || axis.out_step != 1 ||
        axis.count != axis.size || axis.kernel_first != 0)
      return false;
  }
  return true;
}

bool large(i64 batch, const i64* size, i64 channels) {
  const i64 cells = batch * size[0] * size[1] * size[2];
  return cells * channels * static_cast<i64>(sizeof(float)) >= kStreamBytes;
}

}  // namespace

void solve_sums(Problem p, const Kernels& kernels, Team& team) {
  i64 flat[3] = {1, 1, 0};
  if (is_flat(p)) {
    flat[2] = p.batch * p.axes[0].size * p.axes[1].size * p.axes[2].size;
    p.axes[0] = p.axes[1] = Axis{1, 1, 1, 1, 0, 1};
    p.axes[2] = Axis{flat[2], flat[2], 1, 1, 0, 1};
    p.batch = 1;
    p.x.size = p.size = flat;
  }
  if (!suits_lanes(p.axes, p.groups, p.fan_in, p.fan_out, kernels.lanes)) {
    solve_dense(p, kernels, team);
  } else if (suits_depthwise(p, kernels)) {
    solve_depthwise({p}, kernels, team);
  } else if (suits_large_windows(p, kernels) &&
             all_finite({p.x.data, p.batch * p.x.floats()})) {
    solve_large_windows(p, kernels, team);
  } else {
    solve_lanes(p, kernels, team);
  }
}

namespace {

Problem forward_problem(const Sizes& s, const float* x, const float* kernel, float* y) {
  Problem p{};
  for (int a = 0; a < 3; ++a) p.axes[a] = forward_axis(s, a);
  p.x = {x, s.spatial, s.channels()};
  p.batch = s.batch, p.groups = s.groups, p.fan_in = s.fan_in, p.fan_out = s.fan_out;
  p.window = s.window;
  p.weights = {kernel, s.fan_in * s.out(), s.out(), 1, s.fan_out};
  p.y = y, p.size = s.positions;
  p.stream = large(s.batch, s.positions, s.out());
  return p;
}

// Without its axes, which every phase of the strides has of its own.
Problem input_grad_problem(const Sizes& s, const float* g, const float* kernel,
                           float* dx) {
  Problem p{};
  p.x = {g, s.positions, s.out()};
  p.batch = s.batch, p.groups = s.groups, p.fan_in = s.fan_out, p.fan_out = s.fan_in;
  p.window = s.window;
  p.weights = {kernel, s.fan_in * s.out(), 1, s.out(), s.fan_out};
  p.y = dx, p.size = s.spatial;
  p.stream = large(s.batch, s.spatial, s.channels());
  return p;
}

// Whether transforms have done it.
bool by_transforms(const Problem& p, const Sizes& s, const Transforms& transforms,
                   const Kernels& kernels, Team& team) {
  if (!transforms.any()) return false;
  if (transforms.elementwise) {
    const Numbers x{p.x.data, p.batch * p.x.floats()};
    const Numbers kernel{p.weights.data, s.taps() * s.fan_in * s.out()};
    if (sums_are_exact(kernel, x, p.taps() * p.fan_in)) return false;
  }
  return solve_fft(p, transforms, kernels, team);
}

}  // namespace

void forward(const Sizes& sizes, const float* x, const float* kernel, float* y,
             const Transforms& transforms, const Kernels& kernels, Team& team) {
  const Problem whole = forward_problem(sizes, x, kernel, y);
  if (by_transforms(whole, sizes, transforms, kernels, team)) return;
  const Sizes s = simplest(sizes);
  if (suits_mirror(s, kernels)) return mirror_forward(s, x, kernel, y, kernels, team);
  solve_sums(forward_problem(s, x, kernel, y), kernels, team);
}

void input_grad(const Sizes& sizes, const float* g, const float* kernel, float* dx,
                const Transforms& transforms, const Kernels& kernels, Team& team) {
  if (transforms.any()) {
    Problem whole = input_grad_problem(sizes, g, kernel, dx);
    for (int a = 0; a < 3; ++a) whole.axes[a] = Phases(sizes, a).axes[0];
    if (by_transforms(whole, sizes, transforms, kernels, team)) return;
  }
  const Sizes s = simplest(sizes);
  if (suits_fold(s, kernels)) return fold_input_grad(s, g, kernel, dx, kernels, team);
  const Phases phases[3] = {{s, 0}, {s, 1}, {s, 2}};
  if (!phases[0].all || !phases[1].all || !phases[2].all)
    std::memset(dx, 0,
                s.batch * s.spatial[0] * s.spatial[1] * s.spatial[2] * s.channels() *
                    sizeof(float));
  std::vector<Problem> depthwise;
  i64 number = 1;
  for (const Phases& along : phases) number *= static_cast<i64>(along.axes.size());
  for (i64 phase = 0; phase < number; ++phase) {
    Problem p = input_grad_problem(s, g, kernel, dx);
    i64 rest = phase;
    for (int a = 2; a >= 0; --a) {
      const i64 count = static_cast<i64>(phases[a].axes.size());
      p.axes[a] = phases[a].axes[rest % count];
      rest /= count;
    }
    if (suits_depthwise(p, kernels)) {
      depthwise.push_back(p);
    } else {
      solve_sums(p, kernels, team);
    }
  }
  if (!depthwise.empty()) solve_depthwise(depthwise, kernels, team);
}

}  // namespace jaxnets
