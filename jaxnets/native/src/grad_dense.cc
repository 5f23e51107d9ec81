// The kernel gradient with the outputs of one group in a vector.
#include <cstring>

#include "grad_problem.h"

namespace jaxnets {
namespace {

class Dense {
 public:
  Dense(const GradProblem& problem, const Kernels& kernels, Team& team)
      : p_(problem), kernels_(kernels), team_(team) {
    const Columns columns(p_.fan_out, kernels);
    vectors_ = columns.vectors, columns_ = columns.count;
  }

  void run() {
    const i64 threads = team_.threads();
    const i64 pieces = p_.parts(p_.kernel(), p_.groups * columns_, threads);
    const Boxes boxes(p_.axes, p_.batch, p_.fan_in, kGradBoxFloats, pieces);
    const i64 parts = std::min(pieces, boxes.number());
    const i64 shares = std::min(columns_, ceil_div(2 * threads, parts * p_.groups));
    Floats sums(parts > 1 ? parts * p_.kernel() : 0);
    float* all = parts > 1 ? sums.data() : p_.dk;
    team_.run(parts * p_.groups * shares, [&](i64 task) {
      const i64 share = task % shares, group = task / shares % p_.groups;
      const i64 part = task / shares / p_.groups;
      const i64 first = columns_ * share / shares,
                last = columns_ * (share + 1) / shares;
      float* dk = all + part * p_.kernel() + group * p_.fan_out;
      clear(dk, first, last);
      for (i64 i = boxes.number() * part / parts;
           i < boxes.number() * (part + 1) / parts; ++i)
        box(boxes[i], group, first, last, dk);
    });
    if (parts > 1) add_up(all, parts, p_.kernel(), p_.dk, team_);
  }

 private:
  i64 width() const { return vectors_ * kernels_.lanes; }
  i64 used(i64 column) const {
    return std::min(width(), p_.fan_out - column * width());
  }

  void clear(float* dk, i64 first, i64 last) const {
    const i64 begin = first * width(), end = std::min(last * width(), p_.fan_out);
    for (i64 i = 0; i < p_.taps() * p_.fan_in; ++i)
      std::memset(dk + i * p_.out() + begin, 0, (end - begin) * sizeof(float));
  }

  void box(const Box& box, i64 group, i64 first, i64 last, float* dk) const {
    thread_local Floats room, rest;
    const Use use(room), use_rest(rest);
    const Cells cells = gather(p_.x, box.image, Reach(p_.axes, box), group * p_.fan_in,
                               p_.fan_in, room);
    const std::vector<i64> offsets = tap_offsets(cells);
    const bool joined = cells.apart == p_.fan_in;
    const i64 taps = joined ? p_.axes[2].taps : 1;
    for (i64 column = first; column < last; ++column) {
      const i64 channel = group * p_.fan_out + column * width();
      const Pairs pairs =
          all_pairs(p_, box, cells, channel, used(column), width(), rest);
      for (i64 tap = 0; tap < p_.taps(); tap += taps) {
        const Pairs here = pairs_inside(p_, box, pairs, tap, cells.data + offsets[tap]);
        if (here.rows == 0) continue;
        kernels_.dense_grad(
            here, taps * p_.fan_in, dk + tap * p_.fan_in * p_.out() + column * width(),
            p_.out(), static_cast<int>(vectors_), static_cast<int>(used(column)));
      }
    }
  }

  const GradProblem& p_;
  const Kernels& kernels_;
  Team& team_;
  i64 columns_, vectors_;
};

}  // namespace

void grad_dense(const GradProblem& problem, const Kernels& kernels, Team& team) {
  Dense(problem, kernels, team).run();
}

}  // namespace jaxnets
