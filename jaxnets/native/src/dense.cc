// Sums over taps and channels with the outputs of one group in a vector.
//
// The kernel is packed into panels, one for each column of outputs that fits the
// registers, and runs over the rows of a box of results.
#include <cstring>

#include "problem.h"

namespace jaxnets {
namespace {

constexpr i64 kPanelFloats = 1 << 16;  // of weights that every row of a box reads
constexpr i64 kLeastFetched = 6;       // products that take as long as a line does
constexpr i64 kCached = 1 << 21;       // bytes of results
constexpr i64 kShortSum = 64;          // takes no longer than to fetch its result again
constexpr i64 kTogether = 1 << 14;     // of weights of columns that take turns

class Dense {
 public:
  Dense(const Problem& problem, const Kernels& kernels, Team& team)
      : p_(problem), kernels_(kernels), team_(team) {
    const Columns columns(p_.fan_out, kernels);
    vectors_ = columns.vectors, columns_ = columns.count;
    const i64 width = vectors_ * kernels.lanes;
    const i64 most = std::max<i64>(8, kPanelFloats / (width * p_.taps()));
    parts_ = ceil_div(p_.fan_in, std::min(most, p_.fan_in));
    part_ = ceil_div(p_.fan_in, parts_);
    parts_ = ceil_div(p_.fan_in, part_);
    panel_ = p_.taps() * p_.fan_in * width;
  }

  void run() {
    pack();
    const i64 wanted = kTasks * team_.threads();
    const i64 least = ceil_div(wanted, p_.groups * columns_);
    // Every column passes over the box, whose results stay in the cache if they matter.
    const i64 products = p_.taps() * p_.fan_in;
    const bool brief = products <= kShortSum;
    const i64 results = p_.batch * p_.size[0] * p_.size[1] * p_.size[2] * p_.out();
    fetch_ = brief && products >= kLeastFetched &&
             results * static_cast<i64>(sizeof(float)) > kCached && !stream();
    together_ = brief && columns_ * panel_ <= kTogether ? columns_ : 1;
    const i64 cell = brief ? std::max(p_.fan_in, p_.fan_out) : p_.fan_in;
    const Boxes boxes(p_.axes, p_.batch, cell, kBoxFloats, least, true);
    // Columns of outputs share a box unless there are too few boxes.
    const i64 shares = std::min(columns_, ceil_div(wanted, boxes.number() * p_.groups));
    team_.run(boxes.number() * p_.groups * shares, [&](i64 task) {
      const i64 share = task % shares, group = task / shares % p_.groups;
      box(boxes[task / shares / p_.groups], group, columns_ * share / shares,
          columns_ * (share + 1) / shares);
    });
  }

 private:
  i64 lanes_of(i64 column, i64 columns = 1) const {
    return std::min(columns * vectors_ * kernels_.lanes, p_.fan_out - first_of(column));
  }
  i64 first_of(i64 column) const { return column * vectors_ * kernels_.lanes; }

  // The kernel as every column of outputs reads it: (part, tap, channel, output).
  void pack() {
    packed_.resize(p_.groups * columns_ * panel_);
    const auto taps = tap_numbers(p_.axes, p_.window);
    team_.run(p_.groups * columns_, [&](i64 task) {
      const i64 group = task / columns_, column = task % columns_;
      const i64 width = vectors_ * kernels_.lanes;
      const i64 used = lanes_of(column);
      float* to = packed_.data() + task * panel_;
      for (i64 begin = 0; begin < p_.fan_in; begin += part_) {
        const i64 end = std::min(begin + part_, p_.fan_in);
        for (const i64 tap : taps) {
          const float* from = p_.weights.at(tap, group) +
                              first_of(column) * p_.weights.of_out +
                              begin * p_.weights.of_in;
          pack_tap(from, end - begin, used, width, to);
          to += (end - begin) * width;
        }
      }
    });
  }

  void pack_tap(const float* from, i64 channels, i64 used, i64 width, float* to) const {
    if (p_.weights.of_out == 1) {
      for (i64 c = 0; c < channels; ++c) {
        std::memcpy(to + c * width, from + c * p_.weights.of_in, used * sizeof(float));
        std::memset(to + c * width + used, 0, (width - used) * sizeof(float));
      }
      return;
    }
    if (used < width) std::memset(to, 0, channels * width * sizeof(float));
    for (i64 o = 0; o < used; ++o)
      for (i64 c = 0; c < channels; ++c)
        to[c * width + o] = from[o * p_.weights.of_out + c * p_.weights.of_in];
  }

  // Results of longer sums are read again, and wait for products anyway.
  bool stream() const { return p_.stream && parts_ == 1 && p_.taps() == 1; }

  void box(const Box& box, i64 group, i64 first, i64 last) const {
    thread_local Floats room;
    const Use use(room);
    const Cells cells = gather(p_.x, box.image, Reach(p_.axes, box), group * p_.fan_in,
                               p_.fan_in, room);
    std::vector<i64> offsets = tap_offsets(cells);
    // Where cells follow each other, a row of the window is one run.
    i64 joined = 1;
    if (parts_ == 1 && cells.apart == p_.fan_in) {
      joined = p_.axes[2].taps;
      for (i64 i = 0; i * joined < p_.taps(); ++i) offsets[i] = offsets[i * joined];
      offsets.resize(p_.taps() / joined);
    }
    for (i64 column = first; column < last; column += together_) {
      const i64 width = lanes_of(column, std::min(together_, last - column));
      const float* w = packed_.data() + (group * columns_ + column) * panel_;
      for (i64 begin = 0; begin < p_.fan_in; begin += part_) {
        const i64 length = std::min(part_, p_.fan_in - begin);
        for (i64 d = box.from[0]; d < box.to[0]; ++d)
          for (i64 h = box.from[1]; h < box.to[1]; ++h) {
            const float* x = cells.data + begin + cells.at(box, d, h);
            float* y = p_.row(box, d, h) + group * p_.fan_out + first_of(column);
            const Row row{x,
                          cells.step[2],
                          y,
                          p_.axes[2].out_step * p_.out(),
                          box.count(2),
                          stream(),
                          fetch_};
            this->row(row, taps_inside(p_.axes[0], d), taps_inside(p_.axes[1], h),
                      offsets, joined, length, w, width, begin > 0);
          }
        w += p_.taps() * length * vectors_ * kernels_.lanes;
      }
    }
    if (stream()) kernels_.end_stream();
  }

  // A row of results, by those rows of the window that meet the image.
  void row(const Row& row, Range planes, Range rows, const std::vector<i64>& offsets,
           i64 joined, i64 length, const float* w, i64 width, bool add) const {
    const i64 runs = p_.axes[2].taps / joined;
    const i64 weights = p_.axes[2].taps * length * vectors_ * kernels_.lanes;
    const bool whole = rows.count() == p_.axes[1].taps;
    const i64 steps = whole ? std::min<i64>(planes.count(), 1) : planes.count();
    const i64 height = whole ? planes.count() * rows.count() : rows.count();
    const auto sum = [&](i64 first, i64 height) {
      kernels_.dense(row, offsets.data() + first * runs, height * runs, length * joined,
                     w + first * weights, panel_, static_cast<int>(vectors_), width,
                     add);
      add = true;
    };
    for (i64 i = 0; i < steps; ++i)
      sum((planes.from + i) * p_.axes[1].taps + rows.from, height);
    if (!add) sum(0, 0);
  }

  const Problem& p_;
  const Kernels& kernels_;
  Team& team_;
  i64 columns_, vectors_, parts_, part_, panel_, together_;
  bool fetch_;
  Floats packed_;
};

}  // namespace

void solve_dense(const Problem& problem, const Kernels& kernels, Team& team) {
  Dense(problem, kernels, team).run();
}

}  // namespace jaxnets
