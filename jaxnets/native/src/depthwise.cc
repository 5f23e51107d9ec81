// Depthwise convolution on inputs where they lie.
//
// A box of results is cut into strips that meet the same taps: rows within the image,
// columns at its sides, single results in its corners. Nothing is copied, and taps that
// would meet padding are left out.
#include <array>

#include "problem.h"

namespace jaxnets {
namespace {

// Results that meet the same taps; floats of the arrays that the first begins at.
struct Strip {
  i64 x, x_step, y, y_step, count;
  i64 first_term, terms;
};

// What a level-1 cache holds beside the weights.
constexpr i64 kCachedFloats = 7 << 10;

class Depthwise {
 public:
  Depthwise(const std::vector<Problem>& phases, const Kernels& kernels, Team& team)
      : phases_(phases),
        p_(phases[0]),
        kernels_(kernels),
        team_(team),
        blocks_(p_.out() / kernels.lanes) {}

  void run() {
    pack();
    const i64 wanted = kTasks * team_.threads();
    // Phases differ by one result an axis.
    Axis axes[3] = {p_.axes[0], p_.axes[1], p_.axes[2]};
    for (const Problem& phase : phases_)
      for (int a = 0; a < 3; ++a)
        axes[a].count = std::max(axes[a].count, phase.axes[a].count);
    const Boxes boxes(axes, p_.batch, p_.groups, kBoxFloats, ceil_div(wanted, blocks_));
    const i64 shares = std::min(blocks_, ceil_div(wanted, boxes.number()));
    team_.run(boxes.number() * shares, [&](i64 task) {
      const i64 share = task % shares;
      const Box whole = boxes[task / shares];
      for (std::size_t i = 0; i < phases_.size(); ++i) {
        Box here = whole;
        bool some = true;
        for (int a = 0; a < 3; ++a) {
          here.to[a] = std::min(here.to[a], phases_[i].axes[a].count);
          some = some && here.count(a) > 0;
        }
        if (some)
          box(phases_[i], packed_.data() + i * taps_of_window() * p_.out(), here,
              blocks_ * share / shares, blocks_ * (share + 1) / shares);
      }
    });
  }

 private:
  struct Cut {
    std::vector<Strip> strips;
    std::vector<i64> offsets, weights;
  };

  i64 taps_of_window() const { return p_.window[0] * p_.window[1] * p_.window[2]; }

  // The kernel as (phase, tap, channel), taps in the order of the phase's window.
  void pack() {
    packed_.resize(phases_.size() * taps_of_window() * p_.out());
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      float* to = packed_.data() + i * taps_of_window() * p_.out();
      for (const i64 tap : tap_numbers(phases_[i].axes, p_.window))
        for (i64 c = 0; c < p_.groups; ++c) *to++ = *p_.weights.at(tap, c);
    }
  }

  void box(const Problem& p, const float* w, const Box& box, i64 first,
           i64 last) const {
    Cut cut;
    for (i64 d = box.from[0]; d < box.to[0]; ++d) cut_plane(p, box, d, cut);
    // Results whose inputs are in the cache while all channels pass by.
    const i64 column = p.axes[0].taps * p.axes[1].taps * p.groups;
    const i64 pixels =
        (kCachedFloats / column - p.axes[2].reach()) / p.axes[2].step + 1;
    const i64 together = pixels >= 2 ? last - first : 1;
    for (i64 block = first; block < last; block += together) {
      const i64 channel = block * kernels_.lanes;
      for (const Strip& strip : cut.strips) {
        const Row row{p.x.data + strip.x + channel,
                      strip.x_step,
                      p.y + strip.y + channel,
                      strip.y_step,
                      strip.count,
                      p.stream};
        kernels_.lanes_only(row, cut.offsets.data() + strip.first_term,
                            cut.weights.data() + strip.first_term, strip.terms,
                            w + channel, together, together > 1 ? pixels : kAllPixels,
                            kernels_.lanes);
      }
    }
    if (p.stream) kernels_.end_stream();
  }

  void cut_plane(const Problem& p, const Box& box, i64 d, Cut& cut) const {
    const Range rows = within(all_inside(p.axes[1]), box, 1);
    const Range columns = within(all_inside(p.axes[2]), box, 2);
    const auto sides = [&](i64 h, i64 height) {
      for (i64 w = box.from[2]; w < columns.from; ++w)
        add(p, box, {d, h, w}, 1, height, cut);
      for (i64 w = columns.to; w < box.to[2]; ++w)
        add(p, box, {d, h, w}, 1, height, cut);
    };
    for (i64 h = box.from[1]; h < box.to[1]; ++h) {
      if (columns.count() > 0)
        add(p, box, {d, h, columns.from}, 2, columns.count(), cut);
      if (h < rows.from || h >= rows.to) sides(h, 1);
    }
    if (rows.count() > 0) sides(rows.from, rows.count());
  }

  static Range within(Range range, const Box& box, int a) {
    const i64 from = std::clamp(range.from, box.from[a], box.to[a]);
    return {from, std::clamp(range.to, from, box.to[a])};
  }

  // The strip of `count` results along `axis` from `at` on.
  static void add(const Problem& p, const Box& box, std::array<i64, 3> at, int axis,
                  i64 count, Cut& cut) {
    Range taps[3];
    i64 x = box.image, y = box.image;
    i64 x_unit = p.x.channels, y_unit = p.out();
    for (int a = 0; a < 3; ++a) {
      taps[a] = taps_inside(p.axes[a], at[a]);
      const Axis& along = p.axes[a];
      x = x * along.size + at[a] * along.step + along.first +
          taps[a].from * along.stride;
      y = y * p.size[a] + along.out_first + at[a] * along.out_step;
    }
    if (axis == 1) x_unit *= p.axes[2].size, y_unit *= p.size[2];
    Strip strip{x * p.x.channels,
                x_unit * p.axes[axis].step,
                y * p.out(),
                y_unit * p.axes[axis].out_step,
                count,
                static_cast<i64>(cut.offsets.size()),
                0};
    for (i64 i = taps[0].from; i < taps[0].to; ++i)
      for (i64 j = taps[1].from; j < taps[1].to; ++j)
        for (i64 k = taps[2].from; k < taps[2].to; ++k) {
          const i64 tap = (i * p.axes[1].taps + j) * p.axes[2].taps + k;
          const i64 plane = (i - taps[0].from) * p.axes[0].stride;
          const i64 row =
              plane * p.axes[1].size + (j - taps[1].from) * p.axes[1].stride;
          const i64 cell = row * p.axes[2].size + (k - taps[2].from) * p.axes[2].stride;
          cut.offsets.push_back(cell * p.x.channels);
          cut.weights.push_back(tap * p.out());
        }
    strip.terms = static_cast<i64>(cut.offsets.size()) - strip.first_term;
    if (strip.terms == 0) strip.x = 0;
    cut.strips.push_back(strip);
  }

  const std::vector<Problem>& phases_;
  const Problem& p_;  // the first, for what they have in common
  const Kernels& kernels_;
  Team& team_;
  i64 blocks_;
  Floats packed_;
};

}  // namespace

bool suits_depthwise(const Problem& problem, const Kernels& kernels) {
  if (problem.fan_in != 1 || problem.fan_out != 1 || problem.out() % kernels.lanes != 0)
    return false;
  // Results at the sides take a list of taps each.
  for (int a = 1; a < 3; ++a)
    if (2 * all_inside(problem.axes[a]).count() < problem.axes[a].count) return false;
  return true;
}

void solve_depthwise(const std::vector<Problem>& phases, const Kernels& kernels,
                     Team& team) {
  Depthwise(phases, kernels, team).run();
}

}  // namespace jaxnets
