// A sum over images and positions: the kernel gradient.
//
// Where the kernel is small, every thread sums over a part of the positions into a
// kernel of its own, and these are added up in a fixed order; a large one is cut into
// columns of outputs, which sum over all positions.
#pragma once

#include "cells.h"

namespace jaxnets {

constexpr i64 kGradBoxFloats = 1 << 16;  // of cells of x
constexpr i64 kSums = 1 << 20;           // floats of all threads' own kernels
constexpr i64 kLargeSums = 1 << 25;      // where one such kernel is larger than that
constexpr i64 kWorth = 128;              // results to a part

struct GradProblem {
  Axis axes[3];
  Image x, g;
  i64 batch, groups, fan_in, fan_out;
  float* dk;

  i64 out() const { return groups * fan_out; }
  i64 taps() const { return axes[0].taps * axes[1].taps * axes[2].taps; }
  i64 kernel() const { return taps() * fan_in * out(); }

  // Into how many parts the positions are cut, each with a kernel of its own: several a
  // thread, lest one wait for another, if every one has many sums for what it takes to
  // clear a kernel and to add it up; one in all for a large kernel that has as many
  // `columns` as there are threads.
  i64 parts(i64 kernel, i64 columns, i64 threads) const {
    const i64 most = kSums / kernel;
    if (most < threads)
      return columns < threads ? std::clamp<i64>(kLargeSums / kernel, 1, threads) : 1;
    const i64 pairs = batch * axes[0].count * axes[1].count * axes[2].count;
    const i64 worth =
        std::max<i64>(pairs / kWorth, columns < 2 * threads ? threads : 1);
    return std::min({4 * threads, most, worth});
  }

  // The first cell of g of a box, from `channel` on.
  const float* cotangent(const Box& box, i64 channel) const {
    i64 cell = box.image;
    for (int a = 0; a < 3; ++a) cell = cell * g.size[a] + box.from[a];
    return g.data + cell * g.channels + channel;
  }
  // The rows of a box, of one plane, that meet rows of the image by row `tap` of the
  // window, counted through its planes.
  Range rows_inside(const Box& box, i64 tap) const {
    const Range planes = taps_inside(axes[0], box.from[0]);
    const i64 plane = tap / axes[1].taps;
    if (plane < planes.from || plane >= planes.to) return {box.from[1], box.from[1]};
    return results_inside(axes[1], tap % axes[1].taps, {box.from[1], box.to[1]});
  }
  i64 row() const { return g.size[2] * g.channels; }
};

// `width` channels of g of a box, with zeros up to `room_width`.
inline void copy_cotangent(const GradProblem& p, const Box& box, i64 channel, i64 width,
                           i64 room_width, float* to) {
  const float* from = p.cotangent(box, channel);
  for (i64 h = 0; h < box.count(1); ++h)
    for (i64 w = 0; w < box.count(2); ++w, to += room_width) {
      std::memcpy(to, from + h * p.row() + w * p.g.channels, width * sizeof(float));
      std::memset(to + width, 0, (room_width - width) * sizeof(float));
    }
}

// All results of a box with `width` channels of g from `channel` on, of which `used`
// are there; they are copied if vectors would reach beyond them. x is left open.
inline Pairs all_pairs(const GradProblem& p, const Box& box, const Cells& cells,
                       i64 channel, i64 used, i64 width, Floats& room) {
  Pairs pairs{nullptr,
              cells.step[2],
              cells.step[1],
              p.cotangent(box, channel),
              p.g.channels,
              p.row(),
              box.count(1),
              box.count(2)};
  if (used < width) {
    float* copy = room.resize(box.count(1) * box.count(2) * width);
    copy_cotangent(p, box, channel, used, width, copy);
    pairs.g = copy, pairs.g_step = width, pairs.g_row = box.count(2) * width;
  }
  return pairs;
}

// Those of them whose cells by tap number `tap`, at x, lie in rows of the image.
inline Pairs pairs_inside(const GradProblem& p, const Box& box, Pairs pairs, i64 tap,
                          const float* x) {
  const Range rows = p.rows_inside(box, tap / p.axes[2].taps);
  const i64 skipped = rows.from - box.from[1];
  pairs.x = x + skipped * pairs.x_row;
  pairs.g += skipped * pairs.g_row;
  pairs.rows = rows.count();
  return pairs;
}

// Sums over all boxes in parts of them, each with panels of its own, one part behind
// the other in `sums`; add(box, panel, to) adds one of the boxes. Returns how many
// parts there are.
template <typename Add>
i64 sum_in_parts(const GradProblem& p, i64 cell, i64 panels, i64 panel, Team& team,
                 Floats& sums, const Add& add) {
  const i64 pieces = p.parts(panels * panel, panels, team.threads());
  const Boxes boxes(p.axes, p.batch, cell, kGradBoxFloats, pieces);
  const i64 parts = std::min(pieces, boxes.number());
  const i64 shares = std::min<i64>(panels, ceil_div(2 * team.threads(), parts));
  sums.resize(parts * panels * panel);
  team.run(parts * shares, [&](i64 task) {
    const i64 share = task % shares, part = task / shares;
    const i64 first = panels * share / shares, last = panels * (share + 1) / shares;
    float* to = sums.data() + part * panels * panel;
    std::memset(to + first * panel, 0, (last - first) * panel * sizeof(float));
    for (i64 i = boxes.number() * part / parts; i < boxes.number() * (part + 1) / parts;
         ++i)
      for (i64 n = first; n < last; ++n) add(boxes[i], n, to + n * panel);
  });
  return parts;
}

// The sums of `parts` arrays of `count` floats, one behind the other, in a fixed order.
inline void add_up(const float* sums, i64 parts, i64 count, float* result, Team& team) {
  const i64 chunks = std::min<i64>(4 * team.threads(), ceil_div(count, 4096));
  team.run(chunks, [&](i64 chunk) {
    const i64 end = count * (chunk + 1) / chunks;
    for (i64 i = count * chunk / chunks; i < end; ++i) {
      float sum = sums[i];
      for (i64 part = 1; part < parts; ++part) sum += sums[part * count + i];
      result[i] = sum;
    }
  });
}

// By sums, whichever of the ways below suits: the same three ways to fill vectors as in
// problem.h.
void grad_sums(const GradProblem& problem, const Kernels& kernels, Team& team);
void grad_dense(const GradProblem& problem, const Kernels& kernels, Team& team);
void grad_lanes(const GradProblem& problem, const Kernels& kernels, Team& team);
void grad_depthwise(const GradProblem& problem, const Kernels& kernels, Team& team);
void grad_mirror(const GradProblem& problem, const Kernels& kernels, Team& team);
bool suits_grad_mirror(const GradProblem& problem, const Kernels& kernels);
bool suits_grad_depthwise(const GradProblem& problem, const Kernels& kernels);

}  // namespace jaxnets
