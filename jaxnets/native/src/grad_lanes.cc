// The kernel gradient with the outputs of several groups in a vector.
#include <cstring>

#include "grad_problem.h"

namespace jaxnets {
namespace {

class LanesOnly {
 public:
  LanesOnly(const GradProblem& problem, const Kernels& kernels, Team& team)
      : p_(problem),
        kernels_(kernels),
        team_(team),
        blocks_(ceil_div(problem.out(), kernels.lanes)),
        panel_(problem.taps() * problem.fan_in * kernels.lanes) {}

  void run() {
    const i64 cell = spread_floats(p_.axes, p_.fan_in * kernels_.lanes, p_.x.channels);
    Floats sums;
    const i64 parts = sum_in_parts(
        p_, cell, blocks_, panel_, team_, sums,
        [&](const Box& box, i64 block, float* dk) { this->box(box, block, dk); });
    const i64 rows = p_.taps() * p_.fan_in;
    for (i64 o = 0; o < p_.out(); ++o) {
      const float* from =
          sums.data() + o / kernels_.lanes * panel_ + o % kernels_.lanes;
      for (i64 row = 0; row < rows; ++row) {
        float sum = 0.0f;
        for (i64 part = 0; part < parts; ++part)
          sum += from[part * blocks_ * panel_ + row * kernels_.lanes];
        p_.dk[row * p_.out() + o] = sum;
      }
    }
  }

 private:
  void box(const Box& box, i64 block, float* dk) const {
    thread_local Floats room, rest;
    const Use use(room), use_rest(rest);
    const i64 wide = kernels_.lanes, channel = block * wide;
    const Lanes lanes(block, wide, p_.fan_in, p_.fan_out, p_.out());
    const Cells cells = spread_out(kernels_, p_.x, p_.batch, box.image,
                                   Reach(p_.axes, box), lanes, p_.fan_in, room);
    const std::vector<i64> offsets = tap_offsets(cells);
    const i64 used = std::min(wide, p_.out() - channel);
    const Pairs pairs = all_pairs(p_, box, cells, channel, used, wide, rest);
    // A row of the window is one run where its vectors are evenly apart.
    const bool even =
        p_.fan_in == 1 ? cells.apart > 0 : cells.apart == p_.fan_in * wide;
    const i64 taps = even ? p_.axes[2].taps : 1;
    const i64 apart = even && p_.fan_in == 1 ? cells.apart : wide;
    for (i64 tap = 0; tap < p_.taps(); tap += taps) {
      const Pairs here = pairs_inside(p_, box, pairs, tap, cells.data + offsets[tap]);
      if (here.rows == 0) continue;
      kernels_.lanes_only_grad(here, taps * p_.fan_in, apart,
                               dk + tap * p_.fan_in * wide, wide);
    }
  }

  const GradProblem& p_;
  const Kernels& kernels_;
  Team& team_;
  i64 blocks_, panel_;
};

}  // namespace

void grad_lanes(const GradProblem& problem, const Kernels& kernels, Team& team) {
  LanesOnly(problem, kernels, team).run();
}

}  // namespace jaxnets
