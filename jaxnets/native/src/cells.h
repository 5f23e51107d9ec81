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

// The pixels from the first to the last that a box of results meets.
struct Reach {
  const Axis* axes;
  i64 from[3], results[3];

  Reach(const Axis* axes, const Box& box) : axes(axes) {
    for (int a = 0; a < 3; ++a) {
      from[a] = box.from[a] * axes[a].step + axes[a].first;
      results[a] = box.count(a);
    }
  }

  bool inside(const i64* size) const {
    for (int a = 0; a < 3; ++a)
      if (from[a] < 0 || from[a] + axes[a].cells(results[a]) > size[a]) return false;
    return true;
  }
};

// The pixels of a copy along one axis: all from the first to the last that are met, or
// those alone that are, class by class of the taps.
struct Line {
  i64 from, count, step;
  std::vector<i64> tap;  // the pixel of the copy that the first result meets by it
  std::vector<i64> at;   // which pixels they are; from, from + 1, ... if there are none
  i64 apart;             // between neighbouring taps; 0 if uneven

  Line(const Axis& axis, i64 from, i64 results)
      : from(from), count(axis.copied(results)), step(axis.step), apart(axis.stride) {
    tap.resize(axis.taps);
    if (!axis.sparse(results)) {
      for (i64 t = 0; t < axis.taps; ++t) tap[t] = t * axis.stride;
      return;
    }
    step = 1;
    const i64 classes = axis.classes(), between = std::min(axis.dilation(), results);
    apart = classes == 1 ? between : 0;
    at.reserve(count);
    for (i64 c = 0; c < std::min(classes, axis.taps); ++c)
      for (i64 t = c; t < axis.taps; t += classes) {
        tap[t] = static_cast<i64>(at.size());
        const bool last = t + classes >= axis.taps;
        for (i64 r = 0; r < (last ? results : between); ++r)
          at.push_back(from + t * axis.stride + r * axis.step);
      }
  }

  i64 pixel(i64 i) const { return at.empty() ? from + i : at[i]; }
};

// A copy of pixels, line by line.
struct Copy {
  Line lines[3];

  explicit Copy(const Reach& reach)
      : lines{{reach.axes[0], reach.from[0], reach.results[0]},
              {reach.axes[1], reach.from[1], reach.results[1]},
              {reach.axes[2], reach.from[2], reach.results[2]}} {}

  i64 pixels() const { return lines[0].count * lines[1].count * lines[2].count; }

  // The copy at `data`, of `width` floats a pixel.
  Cells cells(const float* data, i64 width) const {
    const i64 row = lines[2].count * width, plane = lines[1].count * row;
    const i64 floats[3] = {plane, row, width};
    Cells cells{data};
    for (int a = 0; a < 3; ++a) {
      cells.step[a] = lines[a].step * floats[a];
      for (const i64 tap : lines[a].tap) cells.tap[a].push_back(tap * floats[a]);
    }
    cells.apart = lines[2].apart * width;
    return cells;
  }
};

// Calls visit(source or null, target pixel number, pixels) for all rows of `copy`, in
// pieces that are inside (source is the first pixel) or outside the image.
template <typename Visit>
void for_rows(const Image& image, i64 number, const Copy& copy, const Visit& visit) {
  const float* base = image.data + number * image.floats();
  const Line& across = copy.lines[2];
  const bool whole = across.at.empty();
  const i64 before = std::clamp<i64>(-across.from, 0, across.count);
  const i64 after = std::clamp<i64>(image.size[2] - across.from, before, across.count);
  i64 to = 0;
  for (i64 d = 0; d < copy.lines[0].count; ++d) {
    const i64 at_d = copy.lines[0].pixel(d);
    for (i64 h = 0; h < copy.lines[1].count; ++h, to += across.count) {
      const i64 at_h = copy.lines[1].pixel(h);
      if (at_d < 0 || at_d >= image.size[0] || at_h < 0 || at_h >= image.size[1]) {
        visit(nullptr, to, across.count);
        continue;
      }
      const i64 row = (at_d * image.size[1] + at_h) * image.size[2];
      if (!whole) {
        for (i64 i = 0; i < across.count; ++i) {
          const bool inside = across.at[i] >= 0 && across.at[i] < image.size[2];
          visit(inside ? base + (row + across.at[i]) * image.channels : nullptr, to + i,
                1);
        }
        continue;
      }
      if (before > 0) visit(nullptr, to, before);
      if (after > before)
        visit(base + (row + across.from + before) * image.channels, to + before,
              after - before);
      if (after < across.count) visit(nullptr, to + after, across.count - after);
    }
  }
}

// `width` channels from `channel` on of all pixels that `reach` meets, where they lie
// or copied into `room`.
inline Cells gather(const Image& image, i64 number, const Reach& reach, i64 channel,
                    i64 width, Floats& room) {
  if (reach.inside(image.size)) {
    const i64 row = image.size[2] * image.channels, plane = image.size[1] * row;
    const i64 floats[3] = {plane, row, image.channels};
    Cells cells{image.data + number * image.floats() + channel};
    for (int a = 0; a < 3; ++a) {
      const Axis& axis = reach.axes[a];
      cells.data += reach.from[a] * floats[a];
      cells.step[a] = axis.step * floats[a];
      for (i64 t = 0; t < axis.taps; ++t)
        cells.tap[a].push_back(t * axis.stride * floats[a]);
    }
    cells.apart = reach.axes[2].stride * image.channels;
    return cells;
  }
  const Copy copy(reach);
  float* data = room.resize(copy.pixels() * width);
  for_rows(image, number, copy, [&](const float* from, i64 to, i64 pixels) {
    float* target = data + to * width;
    if (from == nullptr) {
      std::memset(target, 0, pixels * width * sizeof(float));
    } else if (width == image.channels) {
      std::memcpy(target, from, pixels * width * sizeof(float));
    } else {
      for (i64 i = 0; i < pixels; ++i)
        std::memcpy(target + i * width, from + i * image.channels + channel,
                    width * sizeof(float));
    }
  });
  return copy.cells(data, width);
}

// A copy of them, with zeros from `width` up to `room_width` floats a pixel.
inline Cells padded(const Image& image, i64 number, const Reach& reach, i64 channel,
                    i64 width, i64 room_width, Floats& room) {
  const Copy copy(reach);
  float* data = room.resize(copy.pixels() * room_width);
  for_rows(image, number, copy, [&](const float* from, i64 to, i64 pixels) {
    float* target = data + to * room_width;
    if (from == nullptr) {
      std::memset(target, 0, pixels * room_width * sizeof(float));
      return;
    }
    for (i64 i = 0; i < pixels; ++i, target += room_width) {
      std::memcpy(target, from + i * image.channels + channel, width * sizeof(float));
      std::memset(target + width, 0, (room_width - width) * sizeof(float));
    }
  });
  return copy.cells(data, room_width);
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
    if (axes[a].count > 1) cells *= std::min(axes[a].step, 2 * axes[a].taps);
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
  const bool large = axes[1].copied(1) * axes[2].copied(1) > 64;
  return large ? spread : std::max(spread, channels);
}

// All pixels that `reach` meets as vectors, fan_in of them a pixel, as `lanes` says.
inline Cells spread_out(const Kernels& kernels, const Image& image, i64 batch,
                        i64 number, const Reach& reach, const Lanes& lanes, i64 fan_in,
                        Floats& room) {
  const i64 width = fan_in * kernels.lanes;
  const Copy copy(reach);
  float* data = room.resize(copy.pixels() * width);
  const float* end = image.data + batch * image.floats();
  for_rows(image, number, copy, [&](const float* from, i64 to, i64 pixels) {
    float* target = data + to * width;
    if (from == nullptr) {
      std::memset(target, 0, pixels * width * sizeof(float));
    } else {
      kernels.spread(from + lanes.first, image.channels, end, pixels,
                     lanes.index.data(), fan_in, lanes.span, target);
    }
  });
  return copy.cells(data, width);
}

}  // namespace jaxnets
