// Depthwise convolution on inputs where they lie.
//
// Nothing is copied, and taps that would meet padding are left out.
//
// Channels that are no whole vectors are whole vectors several results at a time, where
// cells and results follow each other; else the last vector of a result is masked.
#include <numeric>

#include "depthwise_cut.h"

namespace jaxnets {
namespace {

// Of channels and taps that are passed by for a few results at a time. The weights of
// more would come from afar for each of them.
constexpr i64 kPassedFloats = 1 << 16;
constexpr i64 kPassedVectors = 4;

// From so many terms on, reading fewer weights counts more than reading in order.
constexpr i64 kManyTerms = 16;

// Times what is wanted: tasks that are too many to cut an image anew for each.
constexpr i64 kManyTasks = 2;

// Images for which lists of taps are worth it, if these have no more than so many.
constexpr i64 kManyImages = 16;
constexpr i64 kMostListed = 1 << 22;

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

// Taps of all results of an image.
i64 listed(const Problem& p) {
  return p.axes[0].count * p.axes[1].count * p.axes[2].count * p.taps();
}

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
    i64 images =
        std::clamp<i64>(p_.batch * shares / (kManyTasks * wanted), 1, p_.batch);
    if (listed(p_) > kMostListed) images = 1;
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
  // The strips of a box of the first image, phase by phase.
  void cut_box(const Box& whole, std::vector<Cut>& cuts) const {
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      Box here = whole;
      bool some = true;
      for (int a = 0; a < 3; ++a) {
        here.to[a] = std::min(here.to[a], phases_[i].axes[a].count);
        some = some && here.count(a) > 0;
      }
      const float* kernel = packed_.data() + first_tap_[i] * packed_cell_;
      if (some) cuts.emplace_back(phases_[i], kernel, packed_cell_, in_line_, here);
    }
  }

  // The kernel as (phase, tap, channel), taps in the order of the phase's window, and
  // the channels as often as vectors need them.
  void pack() {
    i64 taps = 0;
    for (const Problem& phase : phases_) {
      first_tap_.push_back(taps);
      taps += phase.taps();
    }
    packed_.resize(taps * packed_cell_);
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      float* to = packed_.data() + first_tap_[i] * packed_cell_;
      for (const i64 tap : tap_numbers(phases_[i].axes, p_.window)) {
        for (i64 c = 0; c < p_.out(); ++c) to[c] = *p_.weights.at(tap, c);
        for (i64 c = p_.out(); c < packed_cell_; ++c) to[c] = to[c - p_.out()];
        to += packed_cell_;
      }
    }
  }

  void fill(const Cut& cut, i64 image, i64 first, i64 last) const {
    const Problem& p = cut.problem();
    const float* w = cut.kernel();
    const float* x = p.x.data + image * p.x.floats();
    float* y = p.y + image * p.size[0] * p.size[1] * p.size[2] * p.out();
    const bool all = p.taps() * packed_cell_ <= kPassedFloats;
    const i64 together = all ? last - first : kPassedVectors;
    for (i64 block = first; block < last; block += together)
      for (const Strip& strip : cut.strips()) {
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
    kernels_.lanes_only(row, cut.offsets(strip), cut.weights(strip), strip.terms, w,
                        blocks, side_by_side,
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

  const std::vector<Problem>& phases_;
  const Problem& p_;  // the first, for what they have in common
  const Kernels& kernels_;
  Team& team_;
  bool in_line_;
  i64 blocks_, packed_cell_;
  std::vector<i64> first_tap_;  // of every phase in the packed kernel
  Floats packed_;
};

}  // namespace

bool suits_depthwise(const Problem& problem, const Kernels& kernels) {
  if (problem.fan_in != 1 || problem.fan_out != 1) return false;
  if (!in_line(problem, kernels.lanes) &&
      filled(problem.out(), kernels.lanes) < kHalfFilled)
    return false;
  // Results at the sides take a list of taps each, for all images.
  if (problem.batch >= kManyImages && listed(problem) <= kMostListed) return true;
  for (int a = 1; a < 3; ++a)
    if (2 * all_inside(problem.axes[a]).count() < problem.axes[a].count) return false;
  return true;
}

void solve_depthwise(const std::vector<Problem>& phases, const Kernels& kernels,
                     Team& team) {
  Depthwise(phases, kernels, team).run();
}

}  // namespace jaxnets
