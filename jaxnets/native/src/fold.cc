// dx[i, c] = sum over taps t, pixels p that meet cell i by t, of products[t, c, p],
// products[t, c, p] = sum over o of g[p, o] kernel[t, c, o].
//
// Vectors hold pixels of g, which is transposed in strips, so that all their lanes are
// filled however few the channels of x are. The sums of a part of dx are held with the
// last axis innermost, one plane for each phase of its stride and each channel, where
// the products of a row of pixels are added to a run of floats by every tap. Parts do
// not share sums: pixels whose windows reach into two are multiplied for both.
#include "fold.h"

#include <cstring>

#include "fold_parts.h"

namespace jaxnets {
namespace {

constexpr i64 kStripFloats = 1 << 15;  // of transposed pixels and of their products
constexpr i64 kColumns = 256;          // of products that are added at a time

// The same convolution, of which a stride that no second window takes is forgotten.
Sizes strides_taken(Sizes s) {
  for (int a = 0; a < 3; ++a)
    if (s.positions[a] == 1) s.strides[a] = 1;
  return s;
}

class Fold {
 public:
  Fold(const Sizes& sizes, const float* g, const float* kernel, float* dx,
       const Kernels& kernels, Team& team)
      : s_(strides_taken(sizes)),
        g_(g),
        kernel_(kernel),
        dx_(dx),
        kernels_(kernels),
        team_(team) {
    row_ = s_.window[2] * s_.fan_in;
    rows_ = std::min(s_.window[0] * s_.window[1], std::max<i64>(1, kColumns / row_));
    panel_ = kernels.vectors * kernels.lanes;
    strip_ = kStripFloats / (s_.fan_out + rows_ * row_);
    strip_ = std::max<i64>(1, strip_ / panel_) * panel_;
    dots_ = suits_dots(s_, kernels);
  }

  void run() {
    const Parts parts(s_, team_.threads());
    team_.run(parts.number(), [&](i64 task) { part(parts[task]); });
  }

 private:
  // The sums of a part: (image, plane, row) and, for each of these, the last axis in
  // `count` steps of the stride, of which the first `before` lie before the part.
  struct Sums {
    float* data;
    const Part& cells;
    i64 row, count, before;

    float* at(i64 image, i64 d, i64 h) const {
      const Range *planes = &cells.at[1], *rows = &cells.at[2];
      const i64 plane = (image - cells.at[0].from) * planes->count() + d - planes->from;
      return data + (plane * rows->count() + h - rows->from) * row;
    }
  };

  void part(const Part& cells) const {
    thread_local Floats room;
    const Use use(room);
    Part pixels{{cells.at[0]}};
    for (int a = 0; a < 3; ++a) pixels.at[1 + a] = pixels_of(s_, a, cells.at[1 + a]);
    const Range across = cells.at[3], w = pixels.at[3];
    const i64 stride = s_.strides[2], reach = s_.dilation[2] * (s_.window[2] - 1) + 1;
    i64 before = 0, end = across.to;
    if (w.count() > 0) {
      before =
          ceil_div(std::max<i64>(0, across.from - w.from * stride + s_.lo[2]), stride);
      end = std::max(end, (w.to - 1) * stride - s_.lo[2] + reach);
    }
    const i64 count = before + ceil_div(end - across.from, stride);
    const i64 row = stride * s_.channels() * count;
    const i64 floats =
        cells.at[0].count() * cells.at[1].count() * cells.at[2].count() * row;
    float* data = room.resize(floats + kernels_.lanes);
    std::memset(data, 0, (floats + kernels_.lanes) * sizeof(float));
    const Sums sums{data, cells, row, count, before};
    if (pixels.number() > 0) runs(pixels, sums);
    write(sums);
  }

  // Calls strip() for all pixels, those that follow each other in g together.
  void runs(const Part& pixels, const Sums& sums) const {
    const i64 total[4] = {s_.batch, s_.positions[0], s_.positions[1], s_.positions[2]};
    int axis = 3;
    i64 run = pixels.at[3].count();
    while (axis > 0 && pixels.at[axis].count() == total[axis])
      run *= pixels.at[--axis].count();
    for (i64 i = 0; i < pixels.number() / run; ++i) {
      i64 at[4], rest = i, first = 0;
      for (int a = 3; a >= 0; --a) {
        const i64 steps = a < axis ? pixels.at[a].count() : 1;
        at[a] = pixels.at[a].from + rest % steps;
        rest /= steps;
      }
      for (int a = 0; a < 4; ++a) first = first * total[a] + at[a];
      for (i64 done = 0; done < run; done += strip_)
        strip(first + done, std::min(strip_, run - done), sums);
    }
  }

  // `count` pixels from number `first` on.
  void strip(i64 first, i64 count, const Sums& sums) const {
    thread_local Floats turned_room, product_room;
    const Use use(turned_room), use_product(product_room);
    float* turned = turned_room.resize(strip_ * s_.fan_out);
    float* products = product_room.resize(strip_ * rows_ * row_);
    const i64 offset = 0;
    for (i64 group = 0; group < s_.groups; ++group) {
      const float* g = g_ + first * s_.out() + group * s_.fan_out;
      for (i64 p = 0; p < count && !dots_; p += panel_)
        kernels_.transpose(g + p * s_.out(), s_.out(), std::min(panel_, count - p),
                           s_.fan_out, turned + p * s_.fan_out, width(count - p),
                           width(count - p));
      const i64 all = s_.window[0] * s_.window[1];
      for (i64 row = 0; row < all; row += rows_) {
        const i64 rows = std::min(rows_, all - row);
        const float* kernel = kernel_ + row * row_ * s_.out() + group * s_.fan_out;
        if (dots_)
          kernels_.dots(g, s_.out(), count, kernel, s_.out(), rows * row_, s_.fan_out,
                        products, strip_);
        for (i64 p = 0; p < count && !dots_; p += panel_) {
          const i64 lanes = width(count - p);
          const Row columns{kernel, s_.out(), products + p, strip_, rows * row_, false};
          kernels_.dense(columns, &offset, 1, s_.fan_out, turned + p * s_.fan_out, 0,
                         static_cast<int>(lanes / kernels_.lanes), lanes, false);
        }
        add(first, count, {row, row + rows}, group, products, sums);
      }
    }
  }

  // Floats of a panel of at most `pixels`, in whole vectors.
  i64 width(i64 pixels) const {
    return ceil_div(std::min(pixels, panel_), kernels_.lanes) * kernels_.lanes;
  }

  // Adds the products of some rows of the window, row by row of pixels.
  void add(i64 first, i64 count, Range rows, i64 group, const float* products,
           const Sums& sums) const {
    thread_local std::vector<AddedRow> added;
    thread_local std::vector<i64> columns;
    columns_of(group, sums, columns);
    for (i64 done = 0; done < count;) {
      const i64 w = (first + done) % s_.positions[2];
      const i64 length = std::min(s_.positions[2] - w, count - done);
      rows_of((first + done) / s_.positions[2], w, rows, sums, added);
      kernels_.add_rows(products + done, strip_, added.data(), added.size(),
                        columns.data(), row_, length);
      done += length;
    }
  }

  // Where in a row of the sums pixel 0 meets each column of a row of the window.
  void columns_of(i64 group, const Sums& sums, std::vector<i64>& columns) const {
    const i64 stride = s_.strides[2];
    columns.clear();
    for (i64 t = 0; t < s_.window[2]; ++t) {
      const i64 cell =
          t * s_.dilation[2] - s_.lo[2] - sums.cells.at[3].from + sums.before * stride;
      const i64 phase = ((cell % stride) + stride) % stride;
      for (i64 c = 0; c < s_.fan_in; ++c)
        columns.push_back((phase * s_.channels() + group * s_.fan_in + c) * sums.count +
                          (cell - phase) / stride);
    }
  }

  // The rows of sums that a row of pixels, from `w` on, meets by `rows` of the window.
  void rows_of(i64 pixels, i64 w, Range rows, const Sums& sums,
               std::vector<AddedRow>& added) const {
    const Range planes = sums.cells.at[1], lines = sums.cells.at[2];
    const i64 h = pixels % s_.positions[1], plane = pixels / s_.positions[1];
    const i64 d = plane % s_.positions[0], image = plane / s_.positions[0];
    added.clear();
    for (i64 row = rows.from; row < rows.to; ++row) {
      const i64 at_d =
          d * s_.strides[0] - s_.lo[0] + row / s_.window[1] * s_.dilation[0];
      const i64 at_h =
          h * s_.strides[1] - s_.lo[1] + row % s_.window[1] * s_.dilation[1];
      if (at_d >= planes.from && at_d < planes.to && at_h >= lines.from &&
          at_h < lines.to)
        added.push_back({(row - rows.from) * row_, sums.at(image, at_d, at_h) + w});
    }
  }

  // The sums into dx, whose rows they are with planes and steps changed over.
  void write(const Sums& sums) const {
    const Range* at = sums.cells.at;
    for (i64 n = at[0].from; n < at[0].to; ++n)
      for (i64 d = at[1].from; d < at[1].to; ++d)
        for (i64 h = at[2].from; h < at[2].to; ++h) {
          const i64 row = (n * s_.spatial[0] + d) * s_.spatial[1] + h;
          write_row(sums.at(n, d, h) + sums.before, sums.count,
                    dx_ + (row * s_.spatial[2] + at[3].from) * s_.channels(),
                    at[3].count() * s_.channels());
        }
  }

  void write_row(const float* from, i64 plane, float* to, i64 floats) const {
    const i64 planes = s_.strides[2] * s_.channels(), steps = floats / planes;
    if (planes == 1) {
      std::memcpy(to, from, floats * sizeof(float));
      return;
    }
    kernels_.transpose(from, plane, planes, steps, to, planes, planes);
    for (i64 i = 0; i < floats - steps * planes; ++i)
      to[steps * planes + i] = from[i * plane + steps];
  }

  const Sizes s_;
  const float *g_, *kernel_;
  float* dx_;
  const Kernels& kernels_;
  Team& team_;
  i64 row_, rows_;     // columns of a row of the window, rows that are added at a time
  i64 panel_, strip_;  // pixels
  bool dots_;
};

}  // namespace

void fold_input_grad(const Sizes& sizes, const float* g, const float* kernel, float* dx,
                     const Kernels& kernels, Team& team) {
  Fold(sizes, g, kernel, dx, kernels, team).run();
}

}  // namespace jaxnets
