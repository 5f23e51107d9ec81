// How the channels of one group, and tiles of their images, lie in vectors.
//
// Tiles go in bundles, of as many as there are slots in a vector of inputs, twice: in
// real and in imaginary parts. Where outputs fill half a vector at most, they and a few
// inputs at a time lie in slots alike, and a bundle is one row of sums over channels.
// Otherwise every pair of tiles is a row, and its outputs have vectors of their own.
#pragma once

#include "fft_balance.h"

namespace jaxnets {

// Floats between arrays, lest all of them lie on the same lines of the cache.
constexpr i64 kApart = 48;

constexpr i64 kSideBySide = 4, kFewRows = 4;

struct FftDense {
  FftLayout fft;
  FftLanes in, out;
  i64 rows;  // of a bundle
  i64 step;  // floats from one array to the next
  std::vector<std::int32_t> spread;

  FftDense(const Axis* axes, i64 batch, i64 fan_in, i64 fan_out,
           const i64 (&lengths)[3], const Kernels& kernels)
      : fft(axes, batch, lengths, kernels),
        in(fan_in, kernels.lanes, slot(fan_in, fan_out, kernels.lanes)),
        out(fan_out, kernels.lanes,
            2 * fan_out > kernels.lanes ? kernels.lanes : in.slot),
        rows(in.slots / out.slots),
        step(fft.floats() + kApart) {
    if (out.slots == 1) return;
    for (i64 c = 0; c < fan_in; ++c)
      for (i64 lane = 0; lane < kernels.lanes; ++lane) {
        const i64 from = lane / in.slot * in.slot + c % in.slot;
        spread.push_back(static_cast<std::int32_t>(std::min(from, in.lanes - 1)));
      }
  }

  i64 bundles() const { return ceil_div(fft.tiles.number(), in.together()); }

  // Where tile i of a bundle lies among its outputs: in which row, and as which tile.
  i64 row_of(i64 i) const { return i % in.slots / out.slots; }
  i64 place_of(i64 i) const { return i / in.slots * out.slots + i % out.slots; }

  // Sums over the inputs of some bundles, which begin at x, and rows of `vectors`
  // vectors of y.
  FftSums sums(const float* x, const i64* at, float* y, i64 vectors, float* k,
               i64 bundles) const {
    const std::int32_t* lanes = spread.empty() ? nullptr : spread.data();
    return {x,           at,      step, in.chunk, y, step, k, bundles * rows,
            in.channels, vectors, lanes};
  }

  // Inputs whose kernels are transformed together.
  i64 some_inputs() const { return std::min<i64>(in.chunk, 8); }

  // Where their rows begin.
  std::vector<i64> starts(i64 bundles) const {
    std::vector<i64> at;
    for (i64 bundle = 0; bundle < bundles; ++bundle)
      for (i64 row = 0; row < rows; ++row)
        at.push_back(bundle * in.vectors * step + row * in.slot);
    return at;
  }

 private:
  // Lanes of a slot of inputs. Those that outputs share are as many as these are, or a
  // few at least if there are so many inputs; others leave room for a few rows.
  static i64 slot(i64 fan_in, i64 fan_out, i64 lanes) {
    if (2 * fan_out > lanes) return std::max(fan_in, lanes / kFewRows);
    return std::max(fan_out, std::min({fan_in, kSideBySide, lanes / 2}));
  }
};

}  // namespace jaxnets
