#include "fft_cover.h"

#include <bit>
#include <cmath>
#include <limits>

namespace jaxnets {
namespace {

// Of the error of transforms of one channel, see fft_cover.h.
constexpr double kLocal = 6, kSpectral = 6, kPointwise = 7;

constexpr i64 kTogether = 16;   // outputs whose kernels are read side by side
constexpr i64 kSizes = 128;     // of |k|, two to a power of two
constexpr i64 kOneByOne = 8;    // windows of so many taps are summed point by point
constexpr i64 kWindowParts = 6; // blocks in longer ones

// Points of a block, for windows of so many.
i64 block_of(i64 window) {
  return window <= kOneByOne ? 1 : (window + 1) / kWindowParts;
}

int top_bits(float size) {
  return static_cast<int>(std::bit_cast<std::uint32_t>(size) >> 22);
}

// The sizes of the kernel of one output: how many there are of each, and their sums.
// Sizes are counted from the largest down; the last one has all that are smaller.
struct SizesOf {
  int top = 0;
  i64 count[kSizes] = {};
  double sum[kSizes] = {}, total = 0;

  void add(float size) {
    const i64 below = std::clamp<i64>(top - top_bits(size), 0, kSizes - 1);
    ++count[below];
    sum[below] += size;
    total += size;
  }

  // How many of the smallest sum to `wanted`, rounded up; more than any if not even all
  // of them do.
  double least(double wanted) const {
    if (total < wanted) return std::numeric_limits<double>::infinity();
    double found = 0, number = 0;
    for (i64 i = kSizes - 1; i >= 0; --i) {
      if (found + sum[i] < wanted) {
        found += sum[i];
        number += static_cast<double>(count[i]);
        continue;
      }
      // None of these is smaller than the lower end of their range.
      const float low = std::bit_cast<float>(static_cast<std::uint32_t>(top - i) << 22);
      const double each = i == kSizes - 1 ? 0 : low;
      const double all = static_cast<double>(count[i]);
      return number + (each > 0 ? std::min(all, (wanted - found) / each) : all);
    }
    return number;
  }
};

}  // namespace

Cover::Cover(const Problem& p, const FftLayout& fft, const std::vector<float>& spectra,
             Team& team)
    : least_(p.out() * kCrests), usable_(p.out(), 1) {
  for (int a = 0; a < 3; ++a) {
    const i64 window = p.axes[a].taps, block = block_of(window);
    grid_.length[a] = fft.lengths[a];
    grid_.block[a] = block;
    grid_.blocks[a] = ceil_div(fft.lengths[a], block);
    grid_.first[a] = block > 1 ? 1 : 0;
    grid_.window[a] = block > 1 ? window / block - 1 : window;
    grid_.results[a] = ceil_div(fft.tiles.step(a), block);
  }
  const float terms = static_cast<float>(p.taps() * p.fan_in);
  const double points = static_cast<double>(fft.plan.points);
  const auto taps = tap_numbers(p.axes, p.window);
  team.run(ceil_div(p.out(), kTogether), [&](i64 task) {
    const i64 first = task * kTogether;
    find_least(p, taps, spectra, points, first,
               std::min(kTogether, p.out() - first));
  });
  for (i64 o = 0; o < p.out(); ++o)
    possible_ = possible_ && usable_[o] && least(o, 0) <= terms;
}

void Cover::find_least(const Problem& p, const std::vector<i64>& taps,
                       const std::vector<float>& spectra, double points, i64 first,
                       i64 count) {
  std::vector<SizesOf> sizes(count);
  float peaks[kTogether] = {};
  bool finite = true;
  const float* outputs[kTogether];
  for (i64 i = 0; i < count; ++i)
    outputs[i] = p.weights.at(0, (first + i) / p.fan_out) +
                 (first + i) % p.fan_out * p.weights.of_out;
  const auto each = [&](const auto& visit) {
    for (const i64 tap : taps)
      for (i64 c = 0; c < p.fan_in; ++c)
        for (i64 i = 0; i < count; ++i)
          visit(i,
                std::abs(outputs[i][tap * p.weights.of_tap + c * p.weights.of_in]));
  };
  each([&](i64 i, float size) {
    finite = finite && size <= std::numeric_limits<float>::max();
    peaks[i] = std::max(peaks[i], size);
  });
  for (i64 i = 0; i < count; ++i) {
    const bool within = peaks[i] < kLargestUsed && peaks[i] > kSmallest;
    usable_[first + i] = finite && (peaks[i] == 0 || within);
    sizes[i].top = top_bits(peaks[i]);
  }
  if (!finite) return;
  each([&](i64 i, float size) { sizes[i].add(size); });
  const double terms = static_cast<double>(p.taps() * p.fan_in);
  for (i64 i = 0; i < count; ++i)
    for (int crest = 0; crest < kCrests; ++crest) {
      double error = std::log2(points) * sizes[i].total / terms;
      if (!spectra.empty())
        error = terms > kLocal ? (kSpectral * spectra[first + i] +
                                  kPointwise * kCrest[crest] * peaks[i]) /
                                     (terms - kLocal)
                               : std::numeric_limits<double>::infinity();
      const double least = peaks[i] == 0 ? 0 : sizes[i].least(error);
      least_[(first + i) * kCrests + crest] = static_cast<float>(least);
    }
}

}  // namespace jaxnets
