// The kernel gradient with the inputs of one group in a vector: where these are more
// than its outputs, every one of which is broadcast.
#include <cstring>

#include "grad_problem.h"

namespace jaxnets {
namespace {

class Mirror {
 public:
  Mirror(const GradProblem& problem, const Kernels& kernels, Team& team)
      : p_(problem), kernels_(kernels), team_(team) {
    const Columns columns(p_.fan_in, kernels);
    vectors_ = columns.vectors, columns_ = columns.count;
    panel_ = p_.taps() * p_.fan_out * width();
  }

  void run() {
    const i64 panels = p_.groups * columns_;
    Floats sums;
    const i64 parts = sum_in_parts(
        p_, p_.x.channels, panels, panel_, team_, sums,
        [&](const Box& box, i64 panel, float* dk) { this->box(box, panel, dk); });
    team_.run(panels, [&](i64 panel) { write(panel, sums.data(), parts); });
  }

 private:
  i64 width() const { return vectors_ * kernels_.lanes; }
  i64 first_of(i64 panel) const { return panel % columns_ * width(); }
  i64 used(i64 panel) const { return std::min(width(), p_.fan_in - first_of(panel)); }

  // Adds a box to a panel (tap, output, input).
  void box(const Box& box, i64 panel, float* dk) const {
    thread_local Floats room;
    const Use use(room);
    const i64 group = panel / columns_, channel = group * p_.fan_in + first_of(panel);
    const Reach reach(p_.axes, box);
    const Cells cells =
        used(panel) == width() && reach.inside(p_.x.size)
            ? gather(p_.x, box.image, reach, channel, width(), room)
            : padded(p_.x, box.image, reach, channel, used(panel), width(), room);
    const std::vector<i64> offsets = tap_offsets(cells);
    const float* g = p_.cotangent(box, group * p_.fan_out);
    for (i64 tap = 0; tap < p_.taps(); ++tap) {
      const Range rows = p_.rows_inside(box, tap / p_.axes[2].taps);
      if (rows.count() == 0) continue;
      const i64 skipped = rows.from - box.from[1];
      const i64 row = cells.step[1];
      const Pairs pairs{g + skipped * p_.row(),
                        p_.g.channels,
                        p_.row(),
                        cells.data + offsets[tap] + skipped * row,
                        cells.step[2],
                        row,
                        rows.count(),
                        box.count(2)};
      kernels_.dense_grad(pairs, p_.fan_out, dk + tap * p_.fan_out * width(), width(),
                          static_cast<int>(vectors_), static_cast<int>(width()));
    }
  }

  // The sums of all parts of a panel into dk.
  void write(i64 panel, const float* sums, i64 parts) const {
    const i64 all = p_.groups * columns_ * panel_, group = panel / columns_;
    for (i64 tap = 0; tap < p_.taps(); ++tap)
      for (i64 o = 0; o < p_.fan_out; ++o) {
        const float* from = sums + panel * panel_ + (tap * p_.fan_out + o) * width();
        float* to = p_.dk + (tap * p_.fan_in + first_of(panel)) * p_.out() +
                    group * p_.fan_out + o;
        for (i64 c = 0; c < used(panel); ++c) {
          float sum = from[c];
          for (i64 part = 1; part < parts; ++part) sum += from[part * all + c];
          to[c * p_.out()] = sum;
        }
      }
  }

  const GradProblem& p_;
  const Kernels& kernels_;
  Team& team_;
  i64 columns_, vectors_, panel_;
};

}  // namespace

// By the products of vectors that both ways take.
bool suits_grad_mirror(const GradProblem& p, const Kernels& kernels) {
  return p.fan_in >= kernels.lanes && ceil_div(p.fan_in, kernels.lanes) * p.fan_out <
                                          ceil_div(p.fan_out, kernels.lanes) * p.fan_in;
}

void grad_mirror(const GradProblem& problem, const Kernels& kernels, Team& team) {
  Mirror(problem, kernels, team).run();
}

}  // namespace jaxnets
