// What tiles hold, checked before they are transformed.
#pragma once

#include <optional>

#include "fft_balance.h"
#include "fft_cover.h"
#include "repairs.h"

namespace jaxnets {

// The tiles of a bundle, which lie in slots of lanes in real and in imaginary parts.
struct Checked {
  // What results are multiplied by, imaginary parts from kMostLanes on: it undoes the
  // balance, and is 0 where a tile has zeros alone.
  alignas(64) float scale[2 * kMostLanes];
  // What windows are to cover, and the sums of what they do; good until this thread
  // checks other tiles.
  alignas(64) float least[2 * kMostLanes];
  const float* windows = nullptr;
  bool covered = true;
};

// What the windows of every lane are to cover.
struct Least {
  float of[kCrests][kMostLanes] = {};
};

class FftCheck {
 public:
  // Keeps all results.
  explicit FftCheck(const FftLayout& fft) : fft_(fft) {}

  // Keeps every result that is accurate relative to its own terms; of the spectra, see
  // Cover.
  void keep_elementwise(const Problem& problem, const std::vector<float>& spectra,
                        Team& team);

  bool elementwise() const { return cover_.has_value(); }
  // Whether transforms can keep any result, whatever the tiles hold.
  bool possible() const { return !cover_ || cover_->possible(); }
  // Whether so many results are lost that summing all of them takes less.
  bool hopeless() const { return repairs_ && repairs_->hopeless(); }

  const Cover& cover() const { return *cover_; }

  // Checks the tiles in `vectors` arrays z, `step` floats apart, with `values` numbers
  // to a point of each slot of `slot` lanes, and brings imaginary parts to the size of
  // real ones. False, and nothing brought, if a number is not finite.
  bool tiles(float* z, i64 vectors, i64 step, i64 slot, i64 values, const Least& least,
             Checked& found) const;

  // Marks the results of tile `number` that lanes [from, to) of a part do not cover.
  void mark(const Checked& found, bool imaginary, i64 from, i64 to, i64 number);

  // Sums the results that are marked; false if all of them are to be summed.
  bool finish(const Kernels& kernels, Team& team) const;

 private:
  bool relaxed(float* z, i64 vectors, i64 step, i64 slot, Checked& found) const;
  void sum_windows(const float* z, i64 vectors, i64 step, i64 slot, const float* scale,
                   Checked& found) const;

  const FftLayout& fft_;
  std::optional<Cover> cover_;
  std::unique_ptr<Repairs> repairs_;
};

}  // namespace jaxnets
