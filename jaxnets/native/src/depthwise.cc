// Depthwise convolution on inputs where they lie.
//
// A box of results is cut into strips that meet the same taps: rows within the image,
// columns at its sides, single results in its corners. Nothing is copied, and taps that
// would meet padding are left out.
//
// Channels that are no whole vectors are whole vectors several results at a time, where
// cells and results follow each other; else the last vector of a result is masked.
#include <array>
#include <numeric>

#include "problem.h"

namespace jaxnets {
namespace {

// Results that meet the same taps, or rows of such results: floats of the arrays that
// the first begins at, and `floats` in each of them.
struct Strip {
  i64 x, x_step, y, y_step, count, floats;
  i64 first_term, terms;
};

// Of channels and taps that are passed by for a few results at a time. The weights of
// more would come from afar for each of them.
constexpr i64 kPassedFloats = 1 << 16;
constexpr i64 kPassedVectors = 4;

// From so many terms on, reading fewer weights counts more than reading in order.
constexpr i64 kManyTerms = 16;

// Times what is wanted: tasks that are too many to cut an image anew for each.
constexpr i64 kManyTasks = 2;

// Images for which lists of taps are worth it, however many these are.
constexpr i64 kManyImages = 16;

// Weights of a row of results that is a single cell.
constexpr i64 kRowFloats = 1 << 13;

// Of the lanes, where results have vectors of their own though they could share them;
// and where they could not.
constexpr double kFilled = 0.9, kHalfFilled = 0.5;

// How many of the lanes hold channels if every result has vectors of its own.
double filled(i64 channels, i64 lanes) {
  return static_cast<double>(channels) / (ceil_div(channels, lanes) * lanes);
}

i64 taps_of_window(const Problem& p) { return p.window[0] * p.window[1] * p.window[2]; }

// Whether vectors span several results, which the kernel is then repeated for.
bool in_line(const Problem& p, i64 lanes) {
  return p.axes[2].step == 1 && p.axes[2].out_step == 1 &&
         filled(p.out(), lanes) < kFilled &&
         std::lcm(p.out(), lanes) * taps_of_window(p) <= kPassedFloats;
}

class Depthwise {
 public:
  Depthwise(const std::vector<Problem>& phases, const Kernels& kernels, Team& team)
      : phases_(phases),
        p_(phases[0]),
        kernels_(kernels),
        team_(team),
        in_line_(in_line(p_, kernels.lanes)),
        blocks_(in_line_ ? 1 : ceil_div(p_.out(), kernels.lanes)),
        packed_cell_(blocks_ * kernels.lanes) {
    if (!in_line_) return;
    packed_cell_ = std::lcm(p_.out(), i64{kernels.lanes});
    const i64 row = all_inside(p_.axes[2]).count() * p_.out();
    if (row * p_.taps() <= kRowFloats)
      packed_cell_ =
          std::max(packed_cell_, ceil_div(row, kernels.lanes) * kernels.lanes);
  }

  void run() {
    pack();
    const i64 wanted = kTasks * team_.threads();
    // Phases differ by one result an axis.
    Axis axes[3] = {p_.axes[0], p_.axes[1], p_.axes[2]};
    for (const Problem& phase : phases_)
      for (int a = 0; a < 3; ++a)
        axes[a].count = std::max(axes[a].count, phase.axes[a].count);
    const Boxes boxes(axes, p_.batch, p_.out(), kBoxFloats, ceil_div(wanted, blocks_),
                      true);
    const i64 shares = std::min(blocks_, ceil_div(wanted, boxes.number()));
    // All images are cut alike: several of them share a task if there are enough.
    const i64 each = boxes.number() / p_.batch;
    const i64 images =
        std::clamp<i64>(p_.batch * shares / (kManyTasks * wanted), 1, p_.batch);
    const i64 groups = ceil_div(p_.batch, images);
    const i64 places = groups == p_.batch ? each : 1;  // that tasks are made for
    team_.run(groups * places * shares, [&](i64 task) {
      const i64 share = task % shares, rest = task / shares;
      const i64 place = rest % places, from = rest / places * images;
      const i64 first = blocks_ * share / shares, last = blocks_ * (share + 1) / shares;
      std::vector<Cut> cuts;
      for (i64 i = place; i < (places > 1 ? place + 1 : each); ++i)
        cut_box(boxes[i], cuts);
      for (i64 image = from; image < std::min(from + images, p_.batch); ++image)
        for (const Cut& cut : cuts) fill(cut, image, first, last);
    });
  }

 private:
  // The strips of a box of the first image, for one phase.
  struct Cut {
    const Problem* phase;
    const float* weights_of_phase;
    std::vector<Strip> strips;
    std::vector<i64> offsets, weights;
    Range taps[3] = {};  // of the last strip
  };

  void cut_box(const Box& whole, std::vector<Cut>& cuts) const {
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      Box here = whole;
      bool some = true;
      for (int a = 0; a < 3; ++a) {
        here.to[a] = std::min(here.to[a], phases_[i].axes[a].count);
        some = some && here.count(a) > 0;
      }
      if (!some) continue;
      cuts.push_back(
          {&phases_[i], packed_.data() + i * taps_of_window(p_) * packed_cell_});
      for (i64 d = here.from[0]; d < here.to[0]; ++d)
        cut_plane(phases_[i], here, d, cuts.back());
    }
  }

  // The kernel as (phase, tap, channel), taps in the order of the phase's window, and
  // the channels as often as vectors need them.
  void pack() {
    packed_.resize(phases_.size() * taps_of_window(p_) * packed_cell_);
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      float* to = packed_.data() + i * taps_of_window(p_) * packed_cell_;
      for (const i64 tap : tap_numbers(phases_[i].axes, p_.window)) {
        for (i64 c = 0; c < p_.out(); ++c) to[c] = *p_.weights.at(tap, c);
        for (i64 c = p_.out(); c < packed_cell_; ++c) to[c] = to[c - p_.out()];
        to += packed_cell_;
      }
    }
  }

  void fill(const Cut& cut, i64 image, i64 first, i64 last) const {
    const Problem& p = *cut.phase;
    const float* w = cut.weights_of_phase;
    const float* x = p.x.data + image * p.x.floats();
    float* y = p.y + image * p.size[0] * p.size[1] * p.size[2] * p.out();
    const bool all = p.taps() * packed_cell_ <= kPassedFloats;
    const i64 together = all ? last - first : kPassedVectors;
    for (i64 block = first; block < last; block += together)
      for (const Strip& strip : cut.strips) {
        const i64 channel = block * kernels_.lanes;
        const Row row{x + strip.x + channel, strip.x_step, y + strip.y + channel,
                      strip.y_step,          strip.count,  p.stream};
        if (in_line_ && strip.x_step == p_.out() && strip.y_step == p_.out()) {
          line(row, cut, strip, w);
        } else {
          const i64 end = std::min(block + together, last);
          pixels(row, cut, strip, w + channel,
                 (end < blocks_ ? end * kernels_.lanes : strip.floats) - channel);
        }
      }
    if (p.stream) kernels_.end_stream();
  }

  // `floats` floats of every result of a row.
  void pixels(const Row& row, const Cut& cut, const Strip& strip, const float* w,
              i64 floats) const {
    const i64 blocks = ceil_div(floats, kernels_.lanes);
    const i64 side_by_side =
        std::max<i64>(strip.terms < kManyTerms ? 2 : 4, ceil_div(12, blocks));
    kernels_.lanes_only(row, cut.offsets.data() + strip.first_term,
                        cut.weights.data() + strip.first_term, strip.terms, w, blocks,
                        side_by_side,
                        static_cast<int>(floats - (blocks - 1) * kernels_.lanes));
  }

  // A row whose results follow each other, as are their cells: as many of them at a
  // time as are whole vectors, then the rest.
  void line(Row row, const Cut& cut, const Strip& strip, const float* w) const {
    const i64 floats = row.count * p_.out(), whole = floats / packed_cell_;
    row.x_step = row.y_step = packed_cell_;
    row.count = whole;
    pixels(row, cut, strip, w, packed_cell_);
    if (whole * packed_cell_ == floats) return;
    row.x += whole * packed_cell_, row.y += whole * packed_cell_;
    row.count = 1;
    pixels(row, cut, strip, w, floats - whole * packed_cell_);
  }

  void cut_plane(const Problem& p, const Box& box, i64 d, Cut& cut) const {
    const Range rows = within(all_inside(p.axes[1]), box, 1);
    const Range columns = within(all_inside(p.axes[2]), box, 2);
    const bool short_rows =
        in_line_ && columns.count() > 1 && columns.count() * p.out() <= packed_cell_;
    const auto sides = [&](i64 h, i64 height) {
      for (i64 w = box.from[2]; w < columns.from; ++w)
        add(p, {d, h, w}, 1, height, cut);
      for (i64 w = columns.to; w < box.to[2]; ++w) add(p, {d, h, w}, 1, height, cut);
    };
    for (i64 h = box.from[1]; h < box.to[1]; ++h) {
      const bool inside = h >= rows.from && h < rows.to;
      if (columns.count() > 0 && !(inside && short_rows))
        add(p, {d, h, columns.from}, 2, columns.count(), cut);
      if (!inside) sides(h, 1);
    }
    if (rows.count() == 0) return;
    sides(rows.from, rows.count());
    if (columns.count() > 0 && short_rows) {
      add(p, {d, rows.from, columns.from}, 1, rows.count(), cut);
      cut.strips.back().floats = columns.count() * p.out();
    }
  }

  static bool same(const Range* some, const Range* others) {
    for (int a = 0; a < 3; ++a)
      if (some[a].from != others[a].from || some[a].to != others[a].to) return false;
    return true;
  }

  static Range within(Range range, const Box& box, int a) {
    const i64 from = std::clamp(range.from, box.from[a], box.to[a]);
    return {from, std::clamp(range.to, from, box.to[a])};
  }

  // The strip of `count` results along `axis` from `at` on.
  void add(const Problem& p, std::array<i64, 3> at, int axis, i64 count,
           Cut& cut) const {
    Range taps[3];
    i64 x = 0, y = 0;
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
                p.out(),
                static_cast<i64>(cut.offsets.size()),
                taps[0].count() * taps[1].count() * taps[2].count()};
    if (strip.terms == 0) strip.x = 0;
    if (!cut.strips.empty() && same(taps, cut.taps)) {
      strip.first_term = cut.strips.back().first_term;
      cut.strips.push_back(strip);
      return;
    }
    std::copy(taps, taps + 3, cut.taps);
    for (i64 i = taps[0].from; i < taps[0].to; ++i)
      for (i64 j = taps[1].from; j < taps[1].to; ++j)
        for (i64 k = taps[2].from; k < taps[2].to; ++k) {
          const i64 tap = (i * p.axes[1].taps + j) * p.axes[2].taps + k;
          const i64 plane = (i - taps[0].from) * p.axes[0].stride;
          const i64 row =
              plane * p.axes[1].size + (j - taps[1].from) * p.axes[1].stride;
          const i64 cell = row * p.axes[2].size + (k - taps[2].from) * p.axes[2].stride;
          cut.offsets.push_back(cell * p.x.channels);
          cut.weights.push_back(tap * packed_cell_);
        }
    cut.strips.push_back(strip);
  }

  const std::vector<Problem>& phases_;
  const Problem& p_;  // the first, for what they have in common
  const Kernels& kernels_;
  Team& team_;
  bool in_line_;
  i64 blocks_, packed_cell_;
  Floats packed_;
};

}  // namespace

bool suits_depthwise(const Problem& problem, const Kernels& kernels) {
  if (problem.fan_in != 1 || problem.fan_out != 1) return false;
  if (!in_line(problem, kernels.lanes) &&
      filled(problem.out(), kernels.lanes) < kHalfFilled)
    return false;
  // Results at the sides take a list of taps each, for all images.
  if (problem.batch >= kManyImages) return true;
  for (int a = 1; a < 3; ++a)
    if (2 * all_inside(problem.axes[a]).count() < problem.axes[a].count) return false;
  return true;
}

void solve_depthwise(const std::vector<Problem>& phases, const Kernels& kernels,
                     Team& team) {
  Depthwise(phases, kernels, team).run();
}

}  // namespace jaxnets
