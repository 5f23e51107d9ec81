// The parts of an input gradient that are summed by one task each.
#pragma once

#include "geometry.h"

namespace jaxnets {

constexpr i64 kSumFloats = 1 << 16;  // of a part
constexpr i64 kParts = 4;            // for each thread, of whole images
constexpr i64 kPartsOfImages = 2;    // and where these must be cut

// Images and, along three axes, cells of dx or pixels of g.
struct Part {
  Range at[4];

  i64 number() const {
    return at[0].count() * at[1].count() * at[2].count() * at[3].count();
  }
};

// The parts that dx is cut into.
class Parts {
 public:
  Parts(const Sizes& s, i64 threads) {
    total_[0] = s.batch;
    for (int a = 0; a < 3; ++a) total_[1 + a] = s.spatial[a];
    for (int a = 0; a < 4; ++a) size_[a] = total_[a];
    const i64 image = s.spatial[0] * s.spatial[1] * s.spatial[2] * s.channels();
    const i64 fit = std::max<i64>(1, kSumFloats / image);
    cut(0, std::max(ceil_div(s.batch, fit), std::min(s.batch, kParts * threads)));
    if (size_[0] > 1) return;
    for (;;) {
      const bool large = size_[1] * size_[2] * size_[3] * s.channels() > kSumFloats;
      if (!large && number() >= kPartsOfImages * threads) return;
      // The outermost axis along which windows are short beside the part.
      int axis = 0, longest = 1;
      for (int a = 3; a > 0; --a) {
        const i64 reach = s.dilation[a - 1] * (s.window[a - 1] - 1) + 1;
        if (size_[a] > 1 && size_[a] >= 4 * reach) axis = a;
        if (size_[a] > size_[longest]) longest = a;
      }
      if (axis == 0 && (!large || size_[longest] == 1)) return;
      if (axis == 0) axis = longest;
      cut(axis, ceil_div(total_[axis], size_[axis]) + 1);
    }
  }

  i64 number() const {
    i64 number = 1;
    for (int a = 0; a < 4; ++a) number *= ceil_div(total_[a], size_[a]);
    return number;
  }

  Part operator[](i64 i) const {
    Part part;
    for (int a = 3; a >= 0; --a) {
      const i64 steps = ceil_div(total_[a], size_[a]);
      const i64 from = i % steps * size_[a];
      part.at[a] = {from, std::min(from + size_[a], total_[a])};
      i /= steps;
    }
    return part;
  }

 private:
  void cut(int axis, i64 pieces) {
    // One size may give fewer pieces than were asked for: the next smaller one then.
    const i64 even = ceil_div(total_[axis], pieces);
    size_[axis] = even < size_[axis] || pieces == 1 ? even : size_[axis] - 1;
  }

  i64 total_[4], size_[4];
};

// The pixels whose windows reach into `cells`.
inline Range pixels_of(const Sizes& s, int a, Range cells) {
  const i64 last = s.dilation[a] * (s.window[a] - 1);
  const i64 from =
      std::min(ceil_div(std::max<i64>(cells.from + s.lo[a] - last, 0), s.strides[a]),
               s.positions[a]);
  const i64 to = cells.to - 1 + s.lo[a];
  return {from,
          to < 0 ? from : std::clamp(to / s.strides[a] + 1, from, s.positions[a])};
}

}  // namespace jaxnets
