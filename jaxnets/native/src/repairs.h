// Results that transforms are not accurate enough for, to be summed instead.
#pragma once

#include <atomic>
#include <memory>

#include "fft_tiles.h"
#include "problem.h"

namespace jaxnets {

class Repairs {
 public:
  // Of a convolution in the tiles of `fft`, whose results are marked block by block.
  Repairs(const Problem& problem, const FftLayout& fft, const WindowBlocks& grid);

  // Marks results of tile `number` that begin in block (i, j, k).
  void mark(i64 number, i64 i, i64 j, i64 k);

  // Whether summing all results takes less than to go on.
  bool hopeless() const { return marked_ > most_; }

  // Sums the marked results.
  void run(const Kernels& kernels, Team& team) const;

 private:
  // Results first + j * step for j < count along every axis.
  struct Part {
    i64 first[3], count[3], step[3], image;
    auto operator<=>(const Part&) const = default;
  };

  std::vector<Part> parts() const;
  void add_parts(i64 number, std::vector<Part>& parts) const;
  Problem restricted(const Part& part, i64 images) const;

  const Problem& p_;
  const FftLayout& fft_;
  const WindowBlocks& grid_;
  i64 blocks_;  // of results of a tile
  std::unique_ptr<std::atomic<std::uint8_t>[]> marks_;
  std::atomic<i64> marked_ = 0;
  i64 most_;
};

}  // namespace jaxnets
