#include "repairs.h"

#include <algorithm>

namespace jaxnets {
namespace {

// Of all results, the part that may be summed beside the transforms.
constexpr i64 kShare = 4;

}  // namespace

Repairs::Repairs(const Problem& problem, const FftLayout& fft, const WindowBlocks& grid)
    : p_(problem), fft_(fft), grid_(grid) {
  blocks_ = grid.results[0] * grid.results[1] * grid.results[2];
  marks_ = std::make_unique<std::atomic<std::uint8_t>[]>(fft.tiles.number() * blocks_);
  const Axis* axes = problem.axes;
  most_ = problem.batch * axes[0].count * axes[1].count * axes[2].count / kShare;
}

void Repairs::mark(i64 number, i64 i, i64 j, i64 k) {
  const i64 block = (i * grid_.results[1] + j) * grid_.results[2] + k;
  if (marks_[number * blocks_ + block].exchange(1)) return;
  const Tile tile = fft_.tiles[number];
  const i64 at[3] = {i, j, k};
  i64 count = 1;
  for (int a = 0; a < 3; ++a) {
    const i64 left = tile.results[a].to - at[a] * grid_.block[a];
    count *= std::clamp<i64>(left, 0, grid_.block[a]);
  }
  marked_ += count;
}

// The marked blocks of a tile as boxes: runs along the last axis, joined with equal
// ones in the row before.
void Repairs::add_parts(i64 number, std::vector<Part>& parts) const {
  const auto* marks = marks_.get() + number * blocks_;
  const i64* blocks = grid_.results;
  const Tile tile = fft_.tiles[number];
  struct Run {
    i64 from[3], to[3];
  };
  std::vector<Run> open;
  const auto close = [&](const Run& run) {
    Part part{};
    part.image = tile.image;
    for (int a = 0; a < 3; ++a) {
      const Span& results = tile.results[a];
      const i64 from = run.from[a] * grid_.block[a];
      part.first[a] = results.origin + from * results.step;
      part.count[a] = std::min(run.to[a] * grid_.block[a], results.to) - from;
      part.step[a] = results.step;
      if (part.count[a] <= 0) return;
    }
    parts.push_back(part);
  };
  for (i64 i = 0; i < blocks[0]; ++i) {
    for (i64 j = 0; j < blocks[1]; ++j) {
      std::vector<Run> here;
      for (i64 k = 0; k < blocks[2]; ++k, ++marks) {
        if (marks->load() == 0) continue;
        if (!here.empty() && here.back().to[2] == k) {
          here.back().to[2] = k + 1;
        } else {
          here.push_back({{i, j, k}, {i + 1, j + 1, k + 1}});
        }
      }
      for (Run& run : here)
        for (Run& before : open)
          if (before.to[1] == j && before.from[0] == i && before.to[2] == run.to[2] &&
              before.from[2] == run.from[2]) {
            run.from[1] = before.from[1];
            before.to[1] = -1;
          }
      for (const Run& before : open)
        if (before.to[1] >= 0) close(before);
      open = here;
    }
  }
  for (const Run& run : open) close(run);
}

std::vector<Repairs::Part> Repairs::parts() const {
  std::vector<Part> parts;
  for (i64 number = 0; number < fft_.tiles.number(); ++number) add_parts(number, parts);
  std::sort(parts.begin(), parts.end());
  return parts;
}

Problem Repairs::restricted(const Part& part, i64 images) const {
  Problem p = p_;
  for (int a = 0; a < 3; ++a) {
    Axis& axis = p.axes[a];
    const Axis& whole = p_.axes[a];
    axis.count = part.count[a];
    axis.first = whole.first + part.first[a] * whole.step;
    axis.step = part.step[a] * whole.step;
    axis.out_first = whole.out_first + part.first[a] * whole.out_step;
    axis.out_step = part.step[a] * whole.out_step;
  }
  p.batch = images;
  p.x.data += part.image * p.x.floats();
  p.y += part.image * p.size[0] * p.size[1] * p.size[2] * p.out();
  p.stream = false;
  return p;
}

void Repairs::run(const Kernels& kernels, Team& team) const {
  if (marked_ == 0) return;
  const std::vector<Part> parts = this->parts();
  // Equal parts of images that follow each other are one problem.
  std::vector<std::pair<Part, i64>> joined;
  for (const Part& part : parts) {
    if (!joined.empty()) {
      auto& [first, images] = joined.back();
      Part next = first;
      next.image += images;
      if (next == part) {
        ++images;
        continue;
      }
    }
    joined.emplace_back(part, 1);
  }
  const i64 number = static_cast<i64>(joined.size());
  const auto solve = [&](i64 i, Team& by) {
    solve_sums(restricted(joined[i].first, joined[i].second), kernels, by);
  };
  if (number < 2 * team.threads()) {
    for (i64 i = 0; i < number; ++i) solve(i, team);
    return;
  }
  team.run(number, [&](i64 i) {
    Team alone(1, [](const std::function<void()>& work) { work(); });
    solve(i, alone);
  });
}

}  // namespace jaxnets
