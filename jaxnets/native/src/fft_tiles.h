// Tiles of images that are transformed, and how they are laid into lanes.
#pragma once

#include "cells.h"
#include "fft_plan.h"

namespace jaxnets {

// Indices of a tile along one axis: index i is cell origin + i * step of an array, if
// it is one of [from, to).
struct Span {
  i64 origin, step, from, to;
};

struct Tile {
  i64 image;
  Span cells[3], results[3];
};

// The results of a convolution of step 1 in tiles of `length` cells. Result q of phase
// r is result r + q * stride of the axis, and meets only cells of its own phase.
class Tiles {
 public:
  Tiles(const Axis* axes, i64 batch, const i64 (&lengths)[3]) : number_(batch) {
    for (int a = 0; a < 3; ++a) {
      const Axis& axis = axes_[a] = axes[a];
      length_[a] = lengths[a];
      const i64 results = ceil_div(axis.count, axis.stride);
      step_[a] = lengths[a] >= circle(axis) ? results : lengths[a] - axis.taps + 1;
      count_[a] = ceil_div(results, step_[a]);
      phases_[a] = std::min(axis.stride, axis.count);
      number_ *= count_[a] * phases_[a];
    }
  }

  // Points on which nothing that wraps round meets anything but padding, of which the
  // two sides share what they have.
  static i64 circle(const Axis& axis) {
    const i64 results = ceil_div(axis.count, axis.stride);
    const i64 before = std::max<i64>(-axis.first, 0) / axis.stride;
    const i64 cells = std::max<i64>(ceil_div(axis.size - axis.first, axis.stride), 1);
    return std::max({results + axis.taps - 1 - before,
                     std::min(cells, results + axis.taps - 1), results, axis.taps});
  }

  i64 number() const { return number_; }
  // Results of a tile along an axis, at most.
  i64 step(int a) const { return step_[a]; }

  Tile operator[](i64 i) const {
    Tile tile;
    for (int a = 2; a >= 0; --a) {
      const Axis& axis = axes_[a];
      const i64 phase = i % phases_[a], first = i / phases_[a] % count_[a] * step_[a];
      i /= phases_[a] * count_[a];
      const i64 at = phase + first * axis.stride, cell = at + axis.first;
      const i64 from = std::max<i64>(ceil_div(-cell, axis.stride), 0);
      const i64 to = std::min(ceil_div(axis.size - cell, axis.stride), length_[a]);
      tile.cells[a] = {cell, axis.stride, std::min(from, length_[a]), to};
      const i64 left = ceil_div(axis.count - at, axis.stride);
      tile.results[a] = {at, axis.stride, 0, std::min(step_[a], left)};
    }
    tile.image = i;
    return tile;
  }

  // Calls visit(point, float, count) for the rows of a tile: the number of its first
  // point, the first channel of its cell, and how many points follow; the number is
  // -1 for points without a cell.
  template <typename Visit>
  void rows(const Span (&spans)[3], const i64* size, i64 channels, i64 image,
            const Visit& visit) const {
    const Span& last = spans[2];
    const i64 to = std::max(last.from, last.to);
    i64 point = 0;
    for (i64 i = 0; i < length_[0]; ++i)
      for (i64 j = 0; j < length_[1]; ++j, point += length_[2]) {
        const bool there = i >= spans[0].from && i < spans[0].to &&
                           j >= spans[1].from && j < spans[1].to && to > last.from;
        if (!there) {
          visit(point, -1, length_[2]);
          continue;
        }
        const i64 plane = image * size[0] + spans[0].origin + i * spans[0].step;
        const i64 row = plane * size[1] + spans[1].origin + j * spans[1].step;
        const i64 cell = row * size[2] + last.origin + last.from * last.step;
        if (last.from > 0) visit(point, -1, last.from);
        visit(point + last.from, cell * channels, to - last.from);
        if (to < length_[2]) visit(point + to, -1, length_[2] - to);
      }
  }

 private:
  Axis axes_[3];
  i64 length_[3], step_[3], count_[3], phases_[3], number_;
};

// Where channels and tiles lie. With slots of half a vector at most, a vector has as
// many channels as a slot has lanes, of several tiles side by side; otherwise as many
// as it has lanes, of one tile.
struct FftLanes {
  i64 channels, lanes, slot, slots, chunk, vectors;

  FftLanes(i64 channels, i64 lanes) : FftLanes(channels, lanes, channels) {}
  FftLanes(i64 channels, i64 lanes, i64 slot)
      : channels(channels),
        lanes(lanes),
        slot(slot),
        slots(std::max<i64>(lanes / slot, 1)),
        chunk(slots > 1 ? slot : lanes),
        vectors(ceil_div(channels, chunk)) {}

  int width(i64 vector) const {
    return static_cast<int>(std::min(chunk, channels - vector * chunk));
  }
  // Lanes that tile i of those that go together writes: the last one all that are left.
  int stored(i64 i) const {
    const bool last = i % slots == slots - 1;
    return static_cast<int>(last ? lanes - i % slots * slot : slot);
  }
  // Tiles that go together: real and imaginary parts of every slot.
  i64 together() const { return 2 * slots; }
  i64 offset(i64 i) const { return i / slots * lanes + i % slots * slot; }
};

// A convolution by transforms: of what, and in which tiles.
struct FftLayout {
  const Kernels& kernels;
  FftPlan plan;
  Tiles tiles;
  i64 lengths[3];

  FftLayout(const Axis* axes, i64 batch, const i64 (&lengths)[3],
            const Kernels& kernels)
      : kernels(kernels),
        plan(lengths),
        tiles(axes, batch, lengths),
        lengths{lengths[0], lengths[1], lengths[2]} {}

  i64 point() const { return 2 * kernels.lanes; }
  i64 floats() const { return plan.points * point(); }
  void there(float* z) const { kernels.fft_there(z, plan.steps.data(), plan.count()); }
  void back(float* z) const { kernels.fft_back(z, plan.steps.data(), plan.count()); }

  // The rows of tile `number`, spans `of` it, into every second vector of z, as tile i
  // of those that go together; zeros where there are no cells, or no such tile.
  void lay(const FftLanes& lanes, i64 number, Span (Tile::*of)[3], const Image& image,
           i64 vector, i64 i, float* z) const {
    const int stored = lanes.stored(i), width = lanes.width(vector);
    float* to = z + lanes.offset(i);
    if (number >= tiles.number())
      return kernels.fft_place(nullptr, 0, plan.points, width, stored, to);
    Tile tile = tiles[number];
    const Span(&spans)[3] = tile.*of;
    const float* from = image.data + vector * lanes.chunk;
    const i64 step = spans[2].step * image.channels;
    tiles.rows(spans, image.size, image.channels, tile.image,
               [&](i64 point, i64 at, i64 count) {
                 kernels.fft_place(at < 0 ? nullptr : from + at, step, count, width,
                                   stored, to + point * this->point());
               });
  }

  // The results of tile `number`, if there is one, out of where it lies as tile i,
  // times scale[lane], to arrays like y, of so many cells and channels.
  void take(const FftLanes& lanes, i64 number, const float* z, i64 i,
            const float* scale, i64 vector, const i64* size, i64 channels,
            float* y) const {
    if (number >= tiles.number()) return;
    const Tile tile = tiles[number];
    const float* from = z + lanes.offset(i);
    const i64 step = tile.results[2].step * channels;
    tiles.rows(
        tile.results, size, channels, tile.image, [&](i64 point, i64 at, i64 count) {
          if (at >= 0)
            kernels.fft_take(from + point * this->point(), count, lanes.width(vector),
                             scale, y + vector * lanes.chunk + at, step);
        });
  }
};

}  // namespace jaxnets
