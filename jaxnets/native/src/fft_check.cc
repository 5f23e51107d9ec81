#include "fft_check.h"

#include <cmath>
#include <limits>

namespace jaxnets {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kMoreThanAny = std::numeric_limits<float>::infinity();

// The first lane of the slot of a lane, of real or of imaginary parts.
i64 first_of_slot(i64 lane, i64 lanes, i64 slot) {
  return lane / lanes * lanes + lane % lanes / slot * slot;
}

}  // namespace

void FftCheck::keep_elementwise(const Problem& problem,
                                const std::vector<float>& spectra, Team& team) {
  cover_.emplace(problem, fft_, spectra, team);
  if (cover_->possible())
    repairs_ = std::make_unique<Repairs>(problem, fft_, cover_->grid());
}

bool FftCheck::relaxed(float* z, i64 vectors, i64 step, i64 slot,
                       Checked& found) const {
  Balance apart;
  const bool finite = balance(fft_, z, vectors, step, slot, apart);
  std::fill_n(found.scale, kMostLanes, 1.0f);
  std::copy_n(apart.undo, kMostLanes, found.scale + kMostLanes);
  return finite;
}

bool FftCheck::tiles(float* z, i64 vectors, i64 step, i64 slot, i64 values,
                     const Least& least, Checked& found) const {
  if (!cover_) return relaxed(z, vectors, step, slot, found);
  const i64 lanes = fft_.kernels.lanes;
  alignas(64) float peaks[2 * kMostLanes] = {}, energies[2 * kMostLanes] = {};
  for (i64 v = 0; v < vectors; ++v)
    fft_.kernels.fft_sizes(z + v * step, fft_.plan.points, peaks, energies);
  for (i64 lane = 0; lane < 2 * lanes; ++lane) {
    const i64 first = first_of_slot(lane, lanes, slot);
    if (first == lane) continue;
    peaks[first] = std::max(peaks[first], peaks[lane]);
    energies[first] += energies[lane];
  }
  alignas(64) float scale[2 * kMostLanes];
  float rms[2 * kMostLanes];
  bool finite = true;
  const float each = 1.0f / static_cast<float>(fft_.plan.points * values);
  for (i64 lane = 0; lane < 2 * lanes; ++lane) {
    const i64 first = first_of_slot(lane, lanes, slot);
    const bool known = energies[first] <= kLargest;
    const bool zero = known && peaks[first] == 0;
    rms[lane] = known ? std::sqrt(energies[first] * each) : 0;
    const bool usable = kSmallest < rms[lane] && rms[lane] < kLargestUsed;
    finite = finite && known;
    scale[lane] = usable ? 1 / rms[lane] : 0;
    int crest = 0;
    while (usable && peaks[first] > kCrest[crest] * rms[lane]) ++crest;
    found.least[lane] = zero     ? 0
                        : usable ? least.of[crest][lane % lanes]
                                 : kMoreThanAny;
    found.scale[lane / lanes * kMostLanes + lane % lanes] = zero ? 0 : 1;
  }
  sum_windows(z, vectors, step, slot, scale, found);
  if (!finite) return false;
  alignas(64) float up[kMostLanes];
  bool even = true;
  for (i64 lane = 0; lane < lanes; ++lane) {
    int apart = 0;
    if (rms[lane] > 0 && rms[lanes + lane] > 0)
      apart = exponent(rms[lane]) - exponent(rms[lanes + lane]);
    apart = std::clamp(apart, -kFarApart, kFarApart);
    up[lane] = power_of_two(apart);
    found.scale[kMostLanes + lane] *= power_of_two(-apart);
    even = even && apart == 0;
  }
  for (i64 v = 0; v < vectors && !even; ++v)
    fft_.kernels.fft_scale(z + v * step, fft_.plan.points, up);
  return true;
}

void FftCheck::sum_windows(const float* z, i64 vectors, i64 step, i64 slot,
                           const float* scale, Checked& found) const {
  thread_local Floats room;
  const WindowBlocks& grid = cover_->grid();
  const i64 lanes = fft_.kernels.lanes;
  const i64 blocks = grid.blocks[0] * grid.blocks[1] * grid.blocks[2];
  float* sums = room.resize(blocks * fft_.point());
  std::memset(sums, 0, blocks * fft_.point() * sizeof(float));
  for (i64 v = 0; v < vectors; ++v)
    fft_.kernels.fft_blocks(z + v * step, grid, scale, sums);
  if (slot > 1)
    for (i64 i = 0; i < 2 * blocks; ++i)
      for (i64 from = 0; from < lanes; from += slot) {
        float* at = sums + i * lanes + from;
        const i64 width = std::min(slot, lanes - from);
        float sum = 0;
        for (i64 lane = 0; lane < width; ++lane) sum += at[lane];
        std::fill_n(at, width, sum);
      }
  found.covered = fft_.kernels.fft_windows(sums, grid, found.least);
  found.windows = sums;
}

void FftCheck::mark(const Checked& found, bool imaginary, i64 from, i64 to,
                    i64 number) {
  if (found.covered || number >= fft_.tiles.number()) return;
  const WindowBlocks& grid = cover_->grid();
  const i64 part = imaginary ? fft_.kernels.lanes : 0;
  for (i64 i = 0; i < grid.results[0]; ++i)
    for (i64 j = 0; j < grid.results[1]; ++j)
      for (i64 k = 0; k < grid.results[2]; ++k) {
        const i64 block = (i * grid.blocks[1] + j) * grid.blocks[2] + k;
        const float* windows = found.windows + block * fft_.point() + part;
        bool covered = true;
        for (i64 lane = from; lane < to; ++lane)
          covered = covered && windows[lane] >= found.least[part + lane];
        if (!covered) repairs_->mark(number, i, j, k);
      }
}

bool FftCheck::finish(const Kernels& kernels, Team& team) const {
  if (!repairs_) return true;
  if (repairs_->hopeless()) return false;
  repairs_->run(kernels, team);
  return true;
}

}  // namespace jaxnets
