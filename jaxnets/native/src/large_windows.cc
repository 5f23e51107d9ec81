// Depthwise convolution by windows that are larger than the image.
//
// Most of their taps lie outside it. So the sums run over the cells of the image, and
// the kernel, with zeros around it, is what moves past them: a few results of a row
// side by side meet the same cells by neighbouring taps. Of one plane, that is; volumes
// are copied with the zeros around them. Values meet those zeros, so all must be finite.
#include <cstring>

#include "problem.h"

namespace jaxnets {
namespace {

constexpr i64 kSideBySide = 8;
constexpr i64 kMostListed = 1 << 22;  // products of the strips of an image
constexpr i64 kMostCopied = 1 << 24;  // floats of an image

// Results of a row that lie side by side in the registers, and the cells that any of
// them meets: floats from the first tap and from the first cell of the row, for as many
// rows as the window has.
struct Strip {
  Range results;
  i64 cells;
  std::vector<i64> taps, at;
};

class LargeWindows {
 public:
  LargeWindows(const Problem& problem, const Kernels& kernels, Team& team)
      : p_(problem),
        kernels_(kernels),
        team_(team),
        lanes_(kernels.lanes),
        blocks_(ceil_div(problem.out(), lanes_)),
        zeros_((kSideBySide - 1) * problem.axes[2].step),
        kernel_row_((problem.axes[2].taps + 2 * zeros_) * lanes_),
        panel_(problem.axes[0].taps * problem.axes[1].taps * kernel_row_) {}

  void run() {
    pack();
    cut();
    const i64 rows = p_.axes[0].count * p_.axes[1].count;
    const i64 wanted = kTasks * team_.threads();
    const i64 parts = std::min(rows, ceil_div(wanted, p_.batch * blocks_));
    team_.run(p_.batch * blocks_ * parts, [&](i64 task) {
      const i64 part = task % parts, block = task / parts % blocks_;
      image(task / parts / blocks_, block,
            {rows * part / parts, rows * (part + 1) / parts});
    });
  }

 private:
  i64 width_of(i64 block) const { return std::min(lanes_, p_.out() - block * lanes_); }

  // The kernel as (block, row of taps, tap, lane).
  void pack() {
    packed_.resize(blocks_ * panel_);
    const auto taps = tap_numbers(p_.axes, p_.window);
    team_.run(blocks_, [&](i64 block) {
      float* to = packed_.data() + block * panel_;
      std::memset(to, 0, panel_ * sizeof(float));
      for (std::size_t i = 0; i < taps.size(); ++i) {
        const i64 row = i / p_.axes[2].taps, tap = i % p_.axes[2].taps;
        float* tap_to = to + row * kernel_row_ + (zeros_ + tap) * lanes_;
        for (i64 lane = 0; lane < width_of(block); ++lane)
          tap_to[lane] = *p_.weights.at(taps[i], block * lanes_ + lane);
      }
    });
  }

  void cut() {
    const Axis &rows = p_.axes[1], &axis = p_.axes[2];
    strips_.resize(ceil_div(axis.count, kSideBySide));
    const i64 count = static_cast<i64>(strips_.size());
    for (i64 i = 0; i < count; ++i) {
      Strip& strip = strips_[i];
      strip.results = {axis.count * i / count, axis.count * (i + 1) / count};
      const i64 first = strip.results.from * axis.step + axis.first;
      const i64 from = std::max<i64>(first, 0);
      const i64 to = std::min(first + axis.cells(strip.results.count()), axis.size);
      strip.cells = std::max<i64>(to - from, 0);
      for (i64 j = 0; j < rows.taps; ++j)
        for (i64 c = from; c < to; ++c) {
          strip.taps.push_back(j * kernel_row_ + (zeros_ + c - first) * lanes_);
          strip.at.push_back((j * rows.stride * axis.size + c) * lanes_);
        }
    }
  }

  // Some rows of results of one image, counted through its planes.
  void image(i64 number, i64 block, Range rows) const {
    thread_local Floats room;
    const Use use(room);
    const i64 channel = block * lanes_, width = width_of(block);
    const i64 cells = p_.x.size[0] * p_.x.size[1] * p_.x.size[2];
    const float* from = p_.x.data + number * p_.x.floats() + channel;
    float* copy = room.resize(cells * lanes_);
    std::memset(copy, 0, cells * lanes_ * sizeof(float));
    for (i64 i = 0; i < cells; ++i)
      std::memcpy(copy + i * lanes_, from + i * p_.x.channels, width * sizeof(float));
    for (i64 row = rows.from; row < rows.to; ++row)
      for (const Strip& strip : strips_) results(number, block, row, strip, copy);
  }

  void results(i64 number, i64 block, i64 row, const Strip& strip,
               const float* cells) const {
    const Axis* axes = p_.axes;
    const i64 d = row / axes[1].count, h = row % axes[1].count;
    Range lines = taps_inside(axes[1], h);
    if (taps_inside(axes[0], d).count() == 0) lines.to = lines.from;
    const i64 plane = d * axes[0].step + axes[0].first;
    const i64 line = h * axes[1].step + axes[1].first + lines.from * axes[1].stride;
    const i64 cell = (plane * axes[1].size + line) * axes[2].size;
    const i64 terms = lines.count() * strip.cells;
    const Box box{number, {0, 0, strip.results.from}, {}};
    const Row here{packed_.data() + block * panel_ + lines.from * kernel_row_,
                   -axes[2].step * lanes_,
                   p_.row(box, d, h) + block * lanes_,
                   axes[2].out_step * p_.out(),
                   strip.results.count(),
                   false};
    kernels_.lanes_only(here, strip.taps.data(), strip.at.data(), terms,
                        cells + (terms > 0 ? cell * lanes_ : 0), 1, kSideBySide,
                        static_cast<int>(width_of(block)));
  }

  const Problem& p_;
  const Kernels& kernels_;
  Team& team_;
  i64 lanes_, blocks_, zeros_, kernel_row_, panel_;
  Floats packed_;
  std::vector<Strip> strips_;
};

}  // namespace

bool suits_large_windows(const Problem& problem, const Kernels& kernels) {
  const Axis *axes = problem.axes, &axis = axes[2];
  if (problem.fan_in != 1 || problem.fan_out != 1 || axes[0].taps != 1 ||
      axis.stride != 1 || axis.taps <= axis.size || axis.step > axis.taps)
    return false;
  const i64 strips = std::min(ceil_div(axis.count, kSideBySide),
                              ceil_div(axis.size + axis.taps, kSideBySide * axis.step));
  return strips * axis.size * axes[1].taps <= kMostListed &&
         axes[0].size * axes[1].size * axis.size * kernels.lanes <= kMostCopied;
}

void solve_large_windows(const Problem& problem, const Kernels& kernels, Team& team) {
  LargeWindows(problem, kernels, team).run();
}

}  // namespace jaxnets
