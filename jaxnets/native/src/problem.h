// A sum over taps and channels: what the convolution and its input gradient both are.
#pragma once

#include "cells.h"

namespace jaxnets {

constexpr i64 kBoxFloats = 1 << 16;  // of cells of a box: a quarter of a level-2 cache
constexpr i64 kTasks = 4;            // for each thread, where there are so many
constexpr i64 kStreamBytes = 16 << 20;  // results that are written past the caches
constexpr i64 kAllPixels = 1 << 10;     // side by side: as many as the registers hold

// Where the kernel has what: kernel[tap * of_tap + c * of_in + o * of_out], for outputs
// o of group g beginning g * of_group further on.
struct Weights {
  const float* data;
  i64 of_tap, of_in, of_out, of_group;

  const float* at(i64 tap, i64 group) const {
    return data + tap * of_tap + group * of_group;
  }
};

// The results, `out` channels a cell, and what they are sums of.
struct Problem {
  Axis axes[3];
  Image x;
  i64 batch, groups, fan_in, fan_out;
  const i64* window;
  Weights weights;
  float* y;
  const i64* size;  // of y
  bool stream;      // y past the caches

  i64 out() const { return groups * fan_out; }
  i64 taps() const { return axes[0].taps * axes[1].taps * axes[2].taps; }

  // The row of results of `box` that begins with result (d, h, box.from[2]).
  float* row(const Box& box, i64 d, i64 h) const {
    const i64 at[3] = {d, h, box.from[2]};
    i64 cell = box.image;
    for (int a = 0; a < 3; ++a)
      cell = cell * size[a] + axes[a].out_first + at[a] * axes[a].out_step;
    return y + cell * out();
  }
};

// All results by sums, whichever of the ways below suits.
void solve_sums(Problem problem, const Kernels& kernels, Team& team);

// The results of several channels are sums over those of their group: vectors hold the
// outputs of one group, and every input is broadcast.
void solve_dense(const Problem& problem, const Kernels& kernels, Team& team);

// Groups of fewer outputs than a vector has lanes: vectors hold the outputs of several,
// whose inputs are spread out once a box.
void solve_lanes(const Problem& problem, const Kernels& kernels, Team& team);

// One input and one output a group: inputs are read where they lie. All phases of an
// input gradient run in one go.
void solve_depthwise(const std::vector<Problem>& phases, const Kernels& kernels,
                     Team& team);
bool suits_depthwise(const Problem& problem, const Kernels& kernels);

// The same by windows larger than the image: sums over its cells.
void solve_large_windows(const Problem& problem, const Kernels& kernels, Team& team);
bool suits_large_windows(const Problem& problem, const Kernels& kernels);

}  // namespace jaxnets
