// A box of results of a depthwise convolution, cut into strips that meet the same taps:
// rows within the image, columns at its sides, single results in its corners.
#pragma once

#include <array>

#include "problem.h"

namespace jaxnets {

// Results that meet the same taps, or rows of such results: floats of the arrays that
// the first begins at, and `floats` in each of them.
struct Strip {
  i64 x, x_step, y, y_step, count, floats;
  i64 first_term, terms;
};

// The strips of a box of the first image, and the taps of each.
class Cut {
 public:
  // The kernel has `cell` floats a tap. With `in_line`, short rows that follow each
  // other are strips of rows of no more floats than that.
  Cut(const Problem& problem, const float* kernel, i64 cell, bool in_line,
      const Box& box)
      : p_(problem), kernel_(kernel), cell_(cell), in_line_(in_line) {
    for (i64 d = box.from[0]; d < box.to[0]; ++d) plane(box, d);
  }

  const Problem& problem() const { return p_; }
  const float* kernel() const { return kernel_; }
  const std::vector<Strip>& strips() const { return strips_; }

  // Where the cells and the weights of a strip's terms lie.
  const i64* offsets(const Strip& strip) const {
    return offsets_.data() + strip.first_term;
  }
  const i64* weights(const Strip& strip) const {
    return weights_.data() + strip.first_term;
  }

 private:
  void plane(const Box& box, i64 d) {
    const Range rows = within(all_inside(p_.axes[1]), box, 1);
    const Range columns = within(all_inside(p_.axes[2]), box, 2);
    const bool short_rows =
        in_line_ && columns.count() > 1 && columns.count() * p_.out() <= cell_;
    const auto sides = [&](i64 h, i64 height) {
      for (i64 w = box.from[2]; w < columns.from; ++w) add({d, h, w}, 1, height);
      for (i64 w = columns.to; w < box.to[2]; ++w) add({d, h, w}, 1, height);
    };
    for (i64 h = box.from[1]; h < box.to[1]; ++h) {
      const bool inside = h >= rows.from && h < rows.to;
      if (columns.count() > 0 && !(inside && short_rows))
        add({d, h, columns.from}, 2, columns.count());
      if (!inside) sides(h, 1);
    }
    if (rows.count() == 0) return;
    sides(rows.from, rows.count());
    if (columns.count() > 0 && short_rows) {
      add({d, rows.from, columns.from}, 1, rows.count());
      strips_.back().floats = columns.count() * p_.out();
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
  void add(std::array<i64, 3> at, int axis, i64 count) {
    Range taps[3];
    i64 x = 0, y = 0;
    i64 x_unit = p_.x.channels, y_unit = p_.out();
    for (int a = 0; a < 3; ++a) {
      taps[a] = taps_inside(p_.axes[a], at[a]);
      const Axis& along = p_.axes[a];
      x = x * along.size + at[a] * along.step + along.first +
          taps[a].from * along.stride;
      y = y * p_.size[a] + along.out_first + at[a] * along.out_step;
    }
    if (axis == 1) x_unit *= p_.axes[2].size, y_unit *= p_.size[2];
    Strip strip{x * p_.x.channels,
                x_unit * p_.axes[axis].step,
                y * p_.out(),
                y_unit * p_.axes[axis].out_step,
                count,
                p_.out(),
                static_cast<i64>(offsets_.size()),
                taps[0].count() * taps[1].count() * taps[2].count()};
    if (strip.terms == 0) strip.x = 0;
    if (!strips_.empty() && same(taps, taps_)) {
      strip.first_term = strips_.back().first_term;
      strips_.push_back(strip);
      return;
    }
    std::copy(taps, taps + 3, taps_);
    for (i64 i = taps[0].from; i < taps[0].to; ++i)
      for (i64 j = taps[1].from; j < taps[1].to; ++j)
        for (i64 k = taps[2].from; k < taps[2].to; ++k) {
          const i64 tap = (i * p_.axes[1].taps + j) * p_.axes[2].taps + k;
          const i64 plane = (i - taps[0].from) * p_.axes[0].stride;
          const i64 row =
              plane * p_.axes[1].size + (j - taps[1].from) * p_.axes[1].stride;
          const i64 cell =
              row * p_.axes[2].size + (k - taps[2].from) * p_.axes[2].stride;
          offsets_.push_back(cell * p_.x.channels);
          weights_.push_back(tap * cell_);
        }
    strips_.push_back(strip);
  }

  const Problem& p_;
  const float* kernel_;
  i64 cell_;
  bool in_line_;
  std::vector<Strip> strips_;
  std::vector<i64> offsets_, weights_;
  Range taps_[3] = {};  // of the last strip
};

}  // namespace jaxnets
