// Whether transforms keep the error of every result relative to its own terms.
//
// Result p of n terms must have an error of at most n eps L(p), where L(p) is the sum
// of |x||k| over its window. With w = min(|x| / rms, 1) of every value, rms that of the
// tile, and m(p) their sum over the window, L(p) is at least rms times the sum of the
// m(p) smallest |k|: no arrangement of the values meets less. So a result is kept if
// m(p) is at least `least`, the number of smallest |k| that sum to the error of the
// transforms in units of n eps rms. The others are summed, see repairs.h.
//
// Transforms of N points of one channel have an error of at most
//     eps (6 L(p) + 6 rms max|K| + 7 peak max|k|),
// K being the spectrum of the kernel and peak the largest size in the tile. Those of
// several channels are taken to have eps log2(N) rms ||k||, ||k|| being the sum of |k|.
// Both are about 1.5 times what was measured, on noise, waves, steps and impulses.
#pragma once

#include <limits>
#include <vector>

#include "fft_tiles.h"
#include "problem.h"

namespace jaxnets {

// Peaks relative to rms that `least` is known for.
constexpr int kCrests = 5;
constexpr float kCrest[kCrests] = {4, 8, 16, 32, std::numeric_limits<float>::max()};

// Sizes between which no product or sum overflows or loses digits.
constexpr float kSmallest = 1e-15f, kLargestUsed = 1e15f;

class Cover {
 public:
  // The largest sizes in the spectra of the kernels of each output are needed if these
  // have one channel.
  Cover(const Problem& problem, const FftLayout& fft, const std::vector<float>& spectra,
        Team& team);

  // Whether any tile can be kept, whatever it holds.
  bool possible() const { return possible_; }

  // What the windows of output `o` are to cover, in tiles of crest kCrest[crest].
  float least(i64 o, int crest) const { return least_[o * kCrests + crest]; }

  const WindowBlocks& grid() const { return grid_; }

 private:
  void find_least(const Problem& problem, const std::vector<i64>& taps,
                  const std::vector<float>& spectra, double points, i64 first,
                  i64 count);

  std::vector<float> least_;
  std::vector<std::uint8_t> usable_;
  WindowBlocks grid_;
  bool possible_ = true;
};

}  // namespace jaxnets
