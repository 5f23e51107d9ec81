// The kernel gradient of a depthwise convolution, with x and g read where they lie.
#include <cstring>

#include "grad_problem.h"

namespace jaxnets {
namespace {

class DepthwiseGrad {
 public:
  DepthwiseGrad(const GradProblem& problem, const Kernels& kernels, Team& team)
      : p_(problem),
        kernels_(kernels),
        team_(team),
        blocks_(p_.out() / kernels.lanes) {}

  void run() {
    const i64 threads = team_.threads();
    const i64 pieces = p_.parts(p_.kernel(), blocks_, threads);
    const Boxes boxes(p_.axes, p_.batch, p_.groups, kGradBoxFloats, pieces);
    const i64 parts = std::min(pieces, boxes.number());
    const i64 shares = std::min(blocks_, ceil_div(2 * threads, parts));
    Floats sums(parts > 1 ? parts * p_.kernel() : 0);
    float* all = parts > 1 ? sums.data() : p_.dk;
    std::memset(all, 0, parts * p_.kernel() * sizeof(float));
    team_.run(parts * shares, [&](i64 task) {
      const i64 share = task % shares, part = task / shares;
      const i64 end = boxes.number() * (part + 1) / parts;
      for (i64 i = boxes.number() * part / parts; i < end; ++i)
        for (i64 block = blocks_ * share / shares;
             block < blocks_ * (share + 1) / shares; ++block)
          box(boxes[i], block * kernels_.lanes, all + part * p_.kernel());
    });
    if (parts > 1) add_up(all, parts, p_.kernel(), p_.dk, team_);
  }

 private:
  void box(const Box& box, i64 channel, float* dk) const {
    const Range inside = all_inside(p_.axes[2]);
    const i64 from = std::clamp(inside.from, box.from[2], box.to[2]);
    const i64 to = std::clamp(inside.to, from, box.to[2]);
    const i64 rows = p_.axes[0].taps * p_.axes[1].taps;
    for (i64 row = 0; row < rows; ++row) {
      const Range lines = p_.rows_inside(box, row);
      if (lines.count() == 0) continue;
      float* dk_row = dk + row * p_.axes[2].taps * p_.out() + channel;
      for (i64 w = box.from[2]; w < from; ++w)
        columns(box, row, lines, {w, w + 1}, channel, dk_row);
      if (to > from) columns(box, row, lines, {from, to}, channel, dk_row);
      for (i64 w = to; w < box.to[2]; ++w)
        columns(box, row, lines, {w, w + 1}, channel, dk_row);
    }
  }

  // Columns of results that meet the same taps of one row of the window.
  void columns(const Box& box, i64 row, Range lines, Range columns, i64 channel,
               float* dk) const {
    const Axis* axes = p_.axes;
    const Range taps = taps_inside(axes[2], columns.from);
    if (taps.count() == 0) return;
    const i64 step = p_.x.channels, line = axes[2].size * step;
    const i64 d = box.from[0] * axes[0].step + axes[0].first +
                  row / axes[1].taps * axes[0].stride;
    const i64 h =
        lines.from * axes[1].step + axes[1].first + row % axes[1].taps * axes[1].stride;
    const i64 w =
        columns.from * axes[2].step + axes[2].first + taps.from * axes[2].stride;
    const i64 cell =
        ((box.image * axes[0].size + d) * axes[1].size + h) * axes[2].size + w;
    Box first = box;
    first.from[1] = lines.from, first.from[2] = columns.from;
    const Pairs pairs{p_.x.data + cell * step + channel,
                      axes[2].step * step,
                      axes[1].step * line,
                      p_.cotangent(first, channel),
                      p_.g.channels,
                      p_.row(),
                      lines.count(),
                      columns.count()};
    kernels_.lanes_only_grad(pairs, taps.count(), axes[2].stride * step,
                             dk + taps.from * p_.out(), p_.out());
  }

  const GradProblem& p_;
  const Kernels& kernels_;
  Team& team_;
  i64 blocks_;
};

}  // namespace

bool suits_grad_depthwise(const GradProblem& problem, const Kernels& kernels) {
  return problem.fan_in == 1 && problem.fan_out == 1 &&
         problem.out() % kernels.lanes == 0 &&
         2 * all_inside(problem.axes[2]).count() >= problem.axes[2].count;
}

void grad_depthwise(const GradProblem& problem, const Kernels& kernels, Team& team) {
  DepthwiseGrad(problem, kernels, team).run();
}

}  // namespace jaxnets
