// Which cells meet which taps, along one axis and in a box of results.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels.h"

namespace jaxnets {

inline i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

// Result q of `count` meets cell q * step + first + t * stride by tap t, that is by row
// kernel_first + t * kernel_step of the kernel, and lies at out_first + q * out_step.
// Cells outside [0, size) are zero. `stride` is positive.
struct Axis {
  i64 size, count, step;
  i64 taps, first, stride;
  i64 kernel_first = 0, kernel_step = 1;
  i64 out_first = 0, out_step = 1;

  i64 reach() const { return stride * (taps - 1) + 1; }
  i64 cells(i64 results) const { return (results - 1) * step + reach(); }

  // Taps fall into classes: pixels met by taps `classes()` apart are a multiple of
  // `step` apart, those met by others are not.
  i64 classes() const { return step / std::gcd(step, stride); }
  // From one tap of a class to the next, in steps.
  i64 dilation() const { return stride / std::gcd(step, stride); }

  // How many pixels `results` neighbouring results meet.
  i64 met(i64 results) const {
    const i64 apart = std::min(dilation(), results);
    const i64 each = taps / classes(), longer = taps % classes();
    const i64 some = each > 0 ? results + (each - 1) * apart : 0;
    return longer * (results + each * apart) + (classes() - longer) * some;
  }
  // Whether a copy of all pixels from the first to the last met would be mostly of
  // pixels that nothing meets.
  bool sparse(i64 results) const { return cells(results) > 2 * met(results); }
  // Pixels in a copy of those that `results` neighbouring results meet.
  i64 copied(i64 results) const {
    return sparse(results) ? met(results) : cells(results);
  }
};

// Numbers from `from` up to `to`, none if they are equal.
struct Range {
  i64 from, to;
  i64 count() const { return to - from; }
};

// The taps by which result q meets cells inside the image.
inline Range taps_inside(const Axis& axis, i64 q) {
  const i64 cell = q * axis.step + axis.first;
  const i64 from =
      std::clamp<i64>(ceil_div(std::max<i64>(-cell, 0), axis.stride), 0, axis.taps);
  const i64 beyond = cell < axis.size ? ceil_div(axis.size - cell, axis.stride) : 0;
  return {from, std::clamp<i64>(beyond, from, axis.taps)};
}

// Those of `results` that meet a cell inside the image by one tap.
inline Range results_inside(const Axis& axis, i64 tap, Range results) {
  const i64 first = axis.first + tap * axis.stride;
  const i64 from = ceil_div(std::max<i64>(-first, 0), axis.step);
  const i64 to = first < axis.size ? (axis.size - 1 - first) / axis.step + 1 : 0;
  const i64 begin = std::clamp(from, results.from, results.to);
  return {begin, std::clamp(to, begin, results.to)};
}

// The results of [0, count) whose taps all meet cells inside the image.
inline Range all_inside(const Axis& axis) {
  const i64 from = ceil_div(std::max<i64>(-axis.first, 0), axis.step);
  const i64 room = axis.size - axis.reach() - axis.first;
  const i64 to = room < 0 ? 0 : room / axis.step + 1;
  const i64 begin = std::min(from, axis.count);
  return {begin, std::clamp<i64>(to, begin, axis.count)};
}

// Sizes of a convolution in channel-last form: x (batch, spatial, groups * fan_in),
// kernel (window, fan_in, groups * fan_out), y (batch, positions, groups * fan_out).
struct Sizes {
  i64 batch, groups, fan_in, fan_out;
  i64 spatial[3], window[3], positions[3];
  i64 strides[3], lo[3], dilation[3];

  i64 taps() const { return window[0] * window[1] * window[2]; }
  i64 channels() const { return groups * fan_in; }
  i64 out() const { return groups * fan_out; }
};

// The same convolution with as few cells to a window as can be: where the one window is
// the whole image, all its cells are channels of one cell.
inline Sizes simplest(Sizes s) {
  for (int a = 0; a < 3; ++a)
    if (s.groups != 1 || s.window[a] != s.spatial[a] || s.lo[a] != 0 ||
        s.positions[a] != 1 || (s.dilation[a] != 1 && s.window[a] != 1))
      return s;
  s.fan_in *= s.taps();
  for (int a = 0; a < 3; ++a) s.spatial[a] = s.window[a] = s.strides[a] = 1;
  return s;
}

inline Axis forward_axis(const Sizes& s, int a) {
  return {s.spatial[a], s.positions[a], s.strides[a],
          s.window[a],  -s.lo[a],       s.dilation[a]};
}

// One axis of the input gradient as convolutions of g of step 1, by phases: the pixels
// of x at `phase`, `phase` + stride, ... meet the same taps, in reverse order. Phases
// that no tap meets are left out; `all` is false if there are any.
struct Phases {
  std::vector<Axis> axes;
  bool all;

  Phases(const Sizes& s, int a) {
    const i64 stride = s.strides[a], dilation = s.dilation[a];
    const i64 between = stride / std::gcd(stride, dilation);
    for (i64 t = 0; t < std::min(s.window[a], between); ++t) {
      const i64 phase = (((t * dilation - s.lo[a]) % stride) + stride) % stride;
      if (phase >= s.spatial[a]) continue;
      const i64 more = (s.window[a] - 1 - t) / between, last = t + more * between;
      Axis axis{s.positions[a], ceil_div(s.spatial[a] - phase, stride), 1, more + 1};
      axis.first = (phase + s.lo[a] - last * dilation) / stride;
      axis.stride = more > 0 ? between * dilation / stride : 1;
      axis.kernel_first = last;
      axis.kernel_step = more > 0 ? -between : 0;
      axis.out_first = phase;
      axis.out_step = stride;
      axes.push_back(axis);
    }
    std::sort(axes.begin(), axes.end(), [](const Axis& one, const Axis& other) {
      return one.out_first < other.out_first;
    });
    all = static_cast<i64>(axes.size()) == std::min(stride, s.spatial[a]);
  }
};

// Outputs of a group in columns of `vectors` whole vectors, as many as registers allow
// and the columns alike.
struct Columns {
  i64 vectors, count;

  Columns(i64 outputs, const Kernels& kernels) {
    const i64 whole = ceil_div(outputs, kernels.lanes);
    vectors = ceil_div(whole, ceil_div(whole, kernels.vectors));
    count = ceil_div(whole, vectors);
  }
};

// A part of the results of one image, `from` to `to` along every axis.
struct Box {
  i64 image;
  i64 from[3], to[3];
  i64 count(int a) const { return to[a] - from[a]; }
};

// The boxes that a convolution's results are cut into.
class Boxes {
 public:
  // Boxes whose cells, `cell` floats each, fill about `room` floats, at least `least`
  // of them if there are so many rows. A box is part of one plane, or `deep`.
  Boxes(const Axis* axes, i64 batch, i64 cell, i64 room, i64 least, bool deep = false)
      : batch_(batch) {
    for (int a = 0; a < 3; ++a) count_[a] = axes[a].count;
    size_[0] = 1;
    const i64 fixed = axes[0].copied(1) * cell;
    size_[2] = fit(axes[2], fixed * axes[1].copied(1), room);
    if (size_[2] < count_[2]) {
      size_[2] = std::min(count_[2], std::max<i64>(size_[2], 24));
      size_[1] = 1;
    } else {
      size_[1] = fit(axes[1], fixed * axes[2].copied(size_[2]), room);
    }
    if (deep && size_[1] == count_[1] && size_[2] == count_[2])
      size_[0] =
          fit(axes[0], axes[1].copied(size_[1]) * axes[2].copied(size_[2]) * cell,
              room);
    even_out();
    while (number() < least && size_[0] > 1) {
      size_[0] = ceil_div(size_[0], 2);
      even_out();
    }
    while (number() < least && size_[1] > 1) {
      size_[1] = ceil_div(size_[1], 2);
      even_out();
    }
    while (number() < least && size_[2] > 48) {
      size_[2] = ceil_div(size_[2], 2);
      even_out();
    }
  }

  i64 number() const { return batch_ * steps_[0] * steps_[1] * steps_[2]; }

  Box operator[](i64 i) const {
    Box box;
    for (int a = 2; a >= 0; --a) {
      box.from[a] = i % steps_[a] * size_[a];
      box.to[a] = std::min(box.from[a] + size_[a], count_[a]);
      i /= steps_[a];
    }
    box.image = i;
    return box;
  }

 private:
  static i64 fit(const Axis& axis, i64 each, i64 room) {
    const i64 cells = room / std::max<i64>(each, 1);
    if (cells >= axis.reach())
      return std::min(axis.count, (cells - axis.reach()) / axis.step + 1);
    i64 results = 1;
    while (2 * results <= axis.count && axis.copied(2 * results) <= cells) results *= 2;
    return results;
  }

  void even_out() {
    for (int a = 0; a < 3; ++a) {
      steps_[a] = ceil_div(count_[a], size_[a]);
      size_[a] = ceil_div(count_[a], steps_[a]);
      steps_[a] = ceil_div(count_[a], size_[a]);
    }
  }

  i64 batch_, count_[3], size_[3], steps_[3];
};

// Pixels that lie in memory: those of an array, or a copy with the zeros around it.
struct Cells {
  const float* data;
  i64 step[3];              // floats from one result to the next, along every axis
  std::vector<i64> tap[3];  // floats from the first pixel of a window to every tap's
  i64 apart;                // between neighbouring taps of the last axis; 0 if uneven

  i64 at(const Box& box, i64 d, i64 h) const {
    return (d - box.from[0]) * step[0] + (h - box.from[1]) * step[1];
  }
};

// Offsets of the taps from the first cell of a window, the last axis innermost.
inline std::vector<i64> tap_offsets(const Cells& cells) {
  std::vector<i64> offsets;
  offsets.reserve(cells.tap[0].size() * cells.tap[1].size() * cells.tap[2].size());
  for (const i64 d : cells.tap[0])
    for (const i64 h : cells.tap[1])
      for (const i64 w : cells.tap[2]) offsets.push_back(d + h + w);
  return offsets;
}

// The number in the kernel's window of every tap, in the same order.
inline std::vector<i64> tap_numbers(const Axis* axes, const i64* window) {
  std::vector<i64> numbers;
  numbers.reserve(axes[0].taps * axes[1].taps * axes[2].taps);
  for (i64 d = 0; d < axes[0].taps; ++d)
    for (i64 h = 0; h < axes[1].taps; ++h)
      for (i64 w = 0; w < axes[2].taps; ++w) {
        const i64 at[3] = {d, h, w};
        i64 number = 0;
        for (int a = 0; a < 3; ++a)
          number =
              number * window[a] + axes[a].kernel_first + at[a] * axes[a].kernel_step;
        numbers.push_back(number);
      }
  return numbers;
}

}  // namespace jaxnets
