// The cells that a box of results meets, with zeros where they lie outside.
#pragma once

#include <cstring>

#include "geometry.h"
#include "team.h"

namespace jaxnets {

// An array (batch, size[0], size[1], size[2], channels).
struct Image {
  const float* data;
  const i64* size;
  i64 channels;

  i64 floats() const { return size[0] * size[1] * size[2] * channels; }
};

struct Reach {
  i64 from[3], count[3];

  Reach(const Axis* axes, const Box& box) {
    for (int a = 0; a < 3; ++a) {
      from[a] = box.from[a] * axes[a].step + axes[a].first;
      count[a] = axes[a].cells(box.count(a));
    }
  }

  bool inside(const i64* size) const {
    for (int a = 0; a < 3; ++a)
      if (from[a] < 0 || from[a] + count[a] > size[a]) return false;
    return true;
  }

  i64 cells() const { return count[0] * count[1] * count[2]; }
};

// Calls row(source or null, target cell number, cells) for all rows of `reach`, in
// pieces that are inside (source is the first cell) or outside the image.
template <typename Visit>
void for_rows(const Image& image, i64 number, const Reach& reach, const Visit& visit) {
  const float* base = image.data + number * image.floats();
  const i64 before = std::clamp<i64>(-reach.from[2], 0, reach.count[2]);
  const i64 after =
      std::clamp<i64>(image.size[2] - reach.from[2], before, reach.count[2]);
  i64 to = 0;
  for (i64 d = 0; d < reach.count[0]; ++d) {
    const i64 at_d = reach.from[0] + d;
    for (i64 h = 0; h < reach.count[1]; ++h, to += reach.count[2]) {
      const i64 at_h = reach.from[1] + h;
      if (at_d < 0 || at_d >= image.size[0] || at_h < 0 || at_h >= image.size[1]) {
        visit(nullptr, to, reach.count[2]);
        continue;
      }
      if (before > 0) visit(nullptr, to, before);
      if (after > before) {
        const i64 cell = (at_d * image.size[1] + at_h) * image.size[2] + reach.from[2];
        visit(base + (cell + before) * image.channels, to + before, after - before);
      }
      if (after < reach.count[2]) visit(nullptr, to + after, reach.count[2] - after);
    }
  }
}

// `width` channels from `channel` on of all cells of `reach`, where they lie or copied
// into `room`.
inline Cells gather(const Image& image, i64 number, const Reach& reach, i64 channel,
                    i64 width, Floats& room) {
  if (reach.inside(image.size)) {
    const i64 row = image.size[2] * image.channels, plane = image.size[1] * row;
    const float* first = image.data + number * image.floats() + reach.from[0] * plane +
                         reach.from[1] * row + reach.from[2] * image.channels;
    return {first + channel, {plane, row, image.channels}};
  }
  float* copy = room.resize(reach.cells() * width);
  for_rows(image, number, reach, [&](const float* from, i64 to, i64 cells) {
    float* target = copy + to * width;
    if (from == nullptr) {
      std::memset(target, 0, cells * width * sizeof(float));
    } else if (width == image.channels) {
      std::memcpy(target, from, cells * width * sizeof(float));
    } else {
      for (i64 i = 0; i < cells; ++i)
        std::memcpy(target + i * width, from + i * image.channels + channel,
                    width * sizeof(float));
    }
  });
  return {copy,
          {reach.count[1] * reach.count[2] * width, reach.count[2] * width, width}};
}

// A copy of them, with zeros from `width` up to `room_width` floats a cell.
inline Cells padded(const Image& image, i64 number, const Reach& reach, i64 channel,
                    i64 width, i64 room_width, Floats& room) {
  float* copy = room.resize(reach.cells() * room_width);
  for_rows(image, number, reach, [&](const float* from, i64 to, i64 cells) {
    float* target = copy + to * room_width;
    if (from == nullptr) {
      std::memset(target, 0, cells * room_width * sizeof(float));
      return;
    }
    for (i64 i = 0; i < cells; ++i, target += room_width) {
      std::memcpy(target, from + i * image.channels + channel, width * sizeof(float));
      std::memset(target + width, 0, (room_width - width) * sizeof(float));
    }
  });
  return {copy,
          {reach.count[1] * reach.count[2] * room_width, reach.count[2] * room_width,
           room_width}};
}

// What the lanes of one vector of outputs read: channel index[j, lane] of the input
// meets output channel `block` * lanes + lane as the j-th of its group.
struct Lanes {
  std::vector<std::int32_t> index;
  i64 first, span;

  Lanes(i64 block, i64 lanes, i64 fan_in, i64 fan_out, i64 out) {
    const i64 begin = block * lanes, end = std::min(begin + lanes, out);
    first = begin / fan_out * fan_in;
    span = ((end - 1) / fan_out + 1) * fan_in - first;
    index.assign(fan_in * lanes, -1);
    for (i64 j = 0; j < fan_in; ++j)
      for (i64 o = begin; o < end; ++o)
        index[j * lanes + o - begin] =
            static_cast<std::int32_t>(o / fan_out * fan_in + j - first);
  }
};

constexpr i64 kManyProducts = 128;  // whose spread cells do not stay close at hand
constexpr i64 kOwnVectors = 20;     // products that results of one group take longer

// Whether groups share vectors, by what both ways take for a vector of results, in
// products as measured. Sharing saves some where each group has few outputs, but all
// cells are spread out first, one by one if their inputs fill more than a vector. The
// more there are of these, the farther away they lie.
inline bool suits_lanes(const Axis* axes, i64 groups, i64 fan_in, i64 fan_out,
                        i64 lanes) {
  if (groups == 1 || fan_out >= lanes) return false;
  if (fan_in == 1) return true;
  i64 cells = 1, taps = 1;
  for (int a = 0; a < 3; ++a) {
    taps *= axes[a].taps;
    if (axes[a].count > 1) cells *= axes[a].step;
  }
  const i64 together = std::min(groups, ceil_div(lanes, fan_out));
  const i64 spread = together * fan_in > lanes ? 2 * lanes : 8;
  const double product = taps * fan_in > kManyProducts ? 3 : 1.5;
  return fan_in * (product * taps + cells * spread) <
         together * (fan_in * taps + kOwnVectors);
}

// Floats of a cell that a box of spread cells is measured by. All vectors of a box read
// the same lines, so these count, unless the window is so large that what neighbouring
// boxes read twice counts more.
inline i64 spread_floats(const Axis* axes, i64 spread, i64 channels) {
  const bool large = axes[1].reach() * axes[2].reach() > 64;
  return large ? spread : std::max(spread, channels);
}

// All cells of `reach` as vectors, fan_in of them a cell, as `lanes` says.
inline Cells spread_out(const Kernels& kernels, const Image& image, i64 batch,
                        i64 number, const Reach& reach, const Lanes& lanes, i64 fan_in,
                        Floats& room) {
  const i64 width = fan_in * kernels.lanes;
  float* copy = room.resize(reach.cells() * width);
  const float* end = image.data + batch * image.floats();
  for_rows(image, number, reach, [&](const float* from, i64 to, i64 cells) {
    float* target = copy + to * width;
    if (from == nullptr) {
      std::memset(target, 0, cells * width * sizeof(float));
    } else {
      kernels.spread(from + lanes.first, image.channels, end, cells, lanes.index.data(),
                     fan_in, lanes.span, target);
    }
  });
  return {copy,
          {reach.count[1] * reach.count[2] * width, reach.count[2] * width, width}};
}

}  // namespace jaxnets
