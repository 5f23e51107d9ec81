// Sums over taps and channels with the outputs of several groups in a vector.
#include <cstring>

#include "problem.h"

namespace jaxnets {
namespace {

class LanesOnly {
 public:
  LanesOnly(const Problem& problem, const Kernels& kernels, Team& team)
      : p_(problem),
        kernels_(kernels),
        team_(team),
        blocks_(ceil_div(problem.out(), kernels.lanes)),
        panel_(problem.taps() * problem.fan_in * kernels.lanes) {}

  void run() {
    pack();
    const i64 wanted = kTasks * team_.threads();
    const i64 least = ceil_div(wanted, blocks_);
    const i64 cell = spread_floats(p_.axes, p_.fan_in * kernels_.lanes, p_.x.channels);
    const Boxes boxes(p_.axes, p_.batch, cell, kBoxFloats, least, true);
    const i64 shares = std::min(blocks_, ceil_div(wanted, boxes.number()));
    team_.run(boxes.number() * shares, [&](i64 task) {
      const i64 share = task % shares;
      for (i64 block = blocks_ * share / shares; block < blocks_ * (share + 1) / shares;
           ++block)
        box(boxes[task / shares], block);
    });
  }

 private:
  int width_of(i64 block) const {
    return static_cast<int>(
        std::min<i64>(kernels_.lanes, p_.out() - block * kernels_.lanes));
  }

  // The kernel as every vector of outputs reads it: (tap, channel, output).
  void pack() {
    packed_.resize(blocks_ * panel_);
    const auto taps = tap_numbers(p_.axes, p_.window);
    for (i64 block = 0; block < blocks_; ++block) {
      float* to = packed_.data() + block * panel_;
      for (const i64 tap : taps)
        for (i64 c = 0; c < p_.fan_in; ++c)
          for (i64 lane = 0; lane < kernels_.lanes; ++lane) {
            const i64 o = block * kernels_.lanes + lane;
            *to++ = o < p_.out()
                        ? p_.weights.at(
                              tap, o / p_.fan_out)[o % p_.fan_out * p_.weights.of_out +
                                                   c * p_.weights.of_in]
                        : 0.0f;
          }
    }
  }

  void box(const Box& box, i64 block) const {
    thread_local Floats room;
    const Use use(room);
    const Lanes lanes(block, kernels_.lanes, p_.fan_in, p_.fan_out, p_.out());
    const Cells cells = spread_out(kernels_, p_.x, p_.batch, box.image,
                                   Reach(p_.axes, box), lanes, p_.fan_in, room);
    std::vector<i64> offsets, weights;
    offsets.reserve(p_.taps() * p_.fan_in), weights.reserve(p_.taps() * p_.fan_in);
    for (const i64 tap : tap_offsets(cells))
      for (i64 c = 0; c < p_.fan_in; ++c) {
        weights.push_back(offsets.size() * kernels_.lanes);
        offsets.push_back(tap + c * kernels_.lanes);
      }
    for (i64 d = box.from[0]; d < box.to[0]; ++d)
      for (i64 h = box.from[1]; h < box.to[1]; ++h) {
        const float* x = cells.data + cells.at(box, d, h);
        float* y = p_.row(box, d, h) + block * kernels_.lanes;
        // Of one plane, the rows of the window that meet the image are one behind the
        // other; large windows lie mostly outside.
        const i64 row_terms = p_.axes[2].taps * p_.fan_in;
        Range rows{0, p_.axes[0].taps * p_.axes[1].taps};
        if (p_.axes[0].taps == 1) rows = taps_inside(p_.axes[1], h);
        const Row row{x,
                      cells.step[2],
                      y,
                      p_.axes[2].out_step * p_.out(),
                      box.count(2),
                      false};
        kernels_.lanes_only(row, offsets.data() + rows.from * row_terms,
                            weights.data() + rows.from * row_terms,
                            rows.count() * row_terms, packed_.data() + block * panel_,
                            1, kAllPixels, width_of(block));
      }
  }

  const Problem& p_;
  const Kernels& kernels_;
  Team& team_;
  i64 blocks_, panel_;
  Floats packed_;
};

}  // namespace

void solve_lanes(const Problem& problem, const Kernels& kernels, Team& team) {
  LanesOnly(problem, kernels, team).run();
}

}  // namespace jaxnets
