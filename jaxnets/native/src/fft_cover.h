// Whether transforms keep the error of every result relative to its own terms.
//
// Result p of n terms must have an error of at most n eps L(p), where L(p) is the sum
// of |x||k| over its window. Transforms of N points have an error of up to
// eps log2(N) rms ||k||, with rms that of the tile and ||k|| the sum of |k|. With
// w = min(|x| / rms, 1) of every value and m(p) their sum over the window, L(p) is at
// least rms times the sum of the m(p) smallest |k|: no arrangement of the values meets
// less. So results are kept whose m(p) is at least `least`, the number of smallest |k|
// that sum to ||k|| log2(N) / n. It depends on the kernel alone. The others are summed,
// see repairs.h.
#pragma once

#include <vector>

#include "fft_tiles.h"
#include "problem.h"

namespace jaxnets {

// Sizes between which no product or sum overflows or loses digits.
constexpr float kSmallest = 1e-15f, kLargestUsed = 1e15f;

class Cover {
 public:
  Cover(const Problem& problem, const FftLayout& fft, Team& team);

  // Whether any tile can be kept, whatever it holds.
  bool possible() const { return possible_; }

  // What the windows of output `o`, or of any of some outputs, are to cover.
  float least(i64 o) const { return least_[o]; }
  float most_needed(i64 first, i64 count) const {
    const auto begin = least_.begin() + first;
    return *std::max_element(begin, begin + count);
  }

  const WindowBlocks& grid() const { return grid_; }

 private:
  void find_least(const Problem& problem, const std::vector<i64>& taps, i64 first,
                  i64 count, double share);

  std::vector<float> least_;
  std::vector<std::uint8_t> usable_;
  WindowBlocks grid_;
  bool possible_ = true;
};

}  // namespace jaxnets
