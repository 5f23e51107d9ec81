// Which way to multiply takes the least time, for results of few channels.
#include "cells.h"
#include "fold.h"

namespace jaxnets {
namespace {

constexpr i64 kMostBeyond = 4;      // times the image
constexpr i64 kMostReach = 1 << 20;  // floats

// For a pixel of one group, in products of vectors: those of transposed pixels, and
// those of channels with their sums across lanes.
double transposed(const Sizes& s, const Kernels& kernels) {
  const double columns = s.taps() * s.fan_in;
  return columns * s.fan_out / kernels.lanes +
         ceil_div(s.fan_out, kernels.lanes) * kernels.lanes;
}

double across_lanes(const Sizes& s, const Kernels& kernels) {
  return s.taps() * s.fan_in * (ceil_div(s.fan_out, kernels.lanes) + 16);
}

}  // namespace

bool suits_dots(const Sizes& s, const Kernels& kernels) {
  return across_lanes(s, kernels) < transposed(s, kernels);
}

// Compares the products of vectors that both ways take, with what else they do counted
// in as many, as was measured. A correlation leaves lanes empty that no channel fills;
// for several groups in a vector it spreads their inputs out, one by one if these fill
// more than a vector. Folding adds every product to a sum.
bool suits_fold(const Sizes& s, const Kernels& kernels) {
  const i64 lanes = kernels.lanes, taps = s.taps();
  // The sums hold what windows reach beyond the image along the last axis.
  const i64 step = s.positions[2] > 1 ? s.strides[2] : 1;
  const i64 reach = s.dilation[2] * (s.window[2] - 1) + step;
  if (reach > kMostBeyond * s.spatial[2]) return false;
  if (reach > kMostReach / s.channels()) return false;
  double strides = 1;
  for (const i64 stride : s.strides) strides *= static_cast<double>(stride);
  const double cells = s.batch * s.spatial[0] * s.spatial[1] * s.spatial[2];
  const double products = taps / strides * s.fan_out;
  double correlation = s.groups * ceil_div(s.fan_in, lanes) * products;
  if (s.groups > 1 && s.fan_in < lanes) {
    i64 phases = 1;
    for (int a = 0; a < 3; ++a) phases *= std::min(s.strides[a], s.window[a]);
    const i64 inputs = std::min(s.groups, ceil_div(lanes, s.fan_in)) * s.fan_out;
    const double spread = phases / strides * (inputs > lanes ? 2 * lanes : 8);
    correlation =
        std::min(correlation + s.groups * kOwnVectors,
                 ceil_div(s.channels(), lanes) * (2 * products + spread * s.fan_out));
  }
  correlation *= cells;
  const i64 columns = taps * s.fan_in;
  const double rows = s.batch * s.positions[0] * s.positions[1];
  const double folded = rows * s.positions[2] * s.groups *
                        std::min(transposed(s, kernels), across_lanes(s, kernels));
  const double added =
      rows * s.groups * (100 + 12 * ceil_div(s.positions[2], lanes) * columns);
  // The products of many channels come from afar when they are added.
  const double afar = s.fan_in < 2 * lanes ? 1 : 1.5;
  return afar * folded + added + 2 * cells * s.channels() < correlation;
}

}  // namespace jaxnets
