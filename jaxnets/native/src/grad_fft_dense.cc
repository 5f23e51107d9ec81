// The kernel gradient of several channels by transforms.
//
// As for one channel, in grad_fft.cc: spectra of the products of every input and every
// output are added up over all tiles and go one way back. Of as many tiles as there is
// room for, all are transformed; then the points are shared out and multiplied.
#include <cstring>

#include "fft.h"
#include "fft_dense.h"

namespace jaxnets {
namespace {

constexpr i64 kRoom = 1 << 20;  // floats of the tiles that are transformed together
constexpr i64 kRanges = 64;     // of points, at most

class FftSumGrad {
 public:
  FftSumGrad(const GradProblem& problem, const i64 (&lengths)[3],
             const Kernels& kernels, Team& team)
      : p_(problem),
        team_(team),
        d_(problem.axes, problem.batch, problem.fan_in, problem.fan_out, lengths,
           kernels),
        panel_(problem.fan_in * d_.out.vectors * d_.fft.floats()) {
    bundle_ = (d_.in.vectors + d_.rows * d_.out.vectors) * d_.step;
    some_ = std::clamp<i64>(kRoom / (bundle_ * problem.groups), 1, d_.bundles());
  }

  void run() {
    spectra_.resize(p_.groups * some_ * bundle_);
    sums_.resize(p_.groups * panel_);
    for (i64 first = 0; first < d_.bundles(); first += some_) {
      const i64 count = std::min(some_, d_.bundles() - first);
      team_.run(p_.groups * count,
                [&](i64 task) { transform(task / count, first, task % count, count); });
      const i64 points = d_.fft.plan.points, ranges = std::min(points, kRanges);
      team_.run(p_.groups * ranges, [&](i64 task) {
        const i64 range = task % ranges;
        multiply(task / ranges, count, first > 0,
                 {points * range / ranges, points * (range + 1) / ranges});
      });
    }
    const i64 inputs = ceil_div(p_.fan_in, d_.some_inputs());
    const i64 vectors = d_.out.vectors;
    team_.run(p_.groups * inputs * vectors, [&](i64 task) {
      write(task / vectors / inputs, task % vectors,
            task / vectors % inputs * d_.some_inputs());
    });
  }

 private:
  // Spectra of the inputs of all bundles and then of their outputs.
  float* inputs_of(i64 group) const {
    return spectra_.data() + group * some_ * bundle_;
  }
  float* outputs_of(i64 group, i64 count) const {
    return inputs_of(group) + count * d_.in.vectors * d_.step;
  }

  void transform(i64 group, i64 first, i64 bundle, i64 count) const {
    const i64 inputs = d_.in.vectors, outputs = d_.rows * d_.out.vectors;
    float* x = inputs_of(group) + bundle * inputs * d_.step;
    float* y = outputs_of(group, count) + bundle * outputs * d_.step;
    lay(group, first + bundle, x, y);
    for (i64 i = 0; i < inputs; ++i) d_.fft.there(x + i * d_.step);
    for (i64 i = 0; i < outputs; ++i) d_.fft.there(y + i * d_.step);
  }

  // Of all inputs and outputs at some points.
  void multiply(i64 group, i64 count, bool add, Range points) const {
    float* sums = sums_.data() + group * panel_;
    const i64 vectors = d_.out.vectors;
    const i64 each = vectors * p_.fan_in * d_.fft.point();
    if (!add)
      std::memset(sums + points.from * each, 0, points.count() * each * sizeof(float));
    const std::vector<i64> at = d_.starts(count);
    d_.fft.kernels.fft_mix_grad(d_.sums(inputs_of(group), at.data(),
                                        outputs_of(group, count), vectors, sums, count),
                                points.from, points.to);
  }

  void lay(i64 group, i64 bundle, float* x, float* y) const {
    Image in = p_.x, out = p_.g;
    in.data += group * p_.fan_in, out.data += group * p_.fan_out;
    const i64 vectors = d_.out.vectors, first = bundle * d_.in.together();
    for (i64 i = 0; i < d_.in.together(); ++i) {
      for (i64 vector = 0; vector < d_.in.vectors; ++vector)
        d_.fft.lay(d_.in, first + i, &Tile::cells, in, vector, i, x + vector * d_.step);
      for (i64 vector = 0; vector < vectors; ++vector)
        d_.fft.lay(d_.out, first + i, &Tile::results, out, vector, d_.place_of(i),
                   y + (d_.row_of(i) * vectors + vector) * d_.step);
    }
    // Real parts of x meet imaginary ones of y in what is dropped, which must not be
    // larger than what is kept.
    Balance apart;
    if (!balance(d_.fft, x, d_.in.vectors, d_.step, d_.in.slot, apart)) return;
    for (i64 row = 0; row < d_.rows && !apart.even; ++row) {
      Balance here = apart;
      if (d_.out.slots == 1)
        std::fill_n(here.undo, kMostLanes, apart.undo[row * d_.in.slot]);
      for (i64 vector = 0; vector < vectors; ++vector)
        here.undo_in(d_.fft, y + (row * vectors + vector) * d_.step);
    }
  }

  void write(i64 group, i64 vector, i64 first) const {
    thread_local Floats room;
    const FftLayout& fft = d_.fft;
    const i64 count = std::min(d_.some_inputs(), p_.fan_in - first);
    float* z = room.resize(count * d_.step);
    const float* sums = sums_.data() + group * panel_;
    for (i64 point = 0; point < fft.plan.points; ++point) {
      const i64 at = (point * d_.out.vectors + vector) * p_.fan_in + first;
      const float* from = sums + at * fft.point();
      for (i64 c = 0; c < count; ++c)
        std::memcpy(z + c * d_.step + point * fft.point(), from + c * fft.point(),
                    fft.point() * sizeof(float));
    }
    for (i64 c = 0; c < count; ++c) {
      fft.back(z + c * d_.step);
      write_taps(group, vector, first + c, z + c * d_.step);
    }
  }

  void write_taps(i64 group, i64 vector, i64 input, const float* z) const {
    const FftLayout& fft = d_.fft;
    const float scale = 1.0f / static_cast<float>(fft.plan.points);
    const i64 width = d_.out.width(vector);
    float* to = p_.dk + input * p_.out() + group * p_.fan_out + vector * d_.out.chunk;
    for (i64 d = 0; d < p_.axes[0].taps; ++d)
      for (i64 h = 0; h < p_.axes[1].taps; ++h)
        for (i64 w = 0; w < p_.axes[2].taps; ++w, to += p_.fan_in * p_.out()) {
          const float* from =
              z + ((d * fft.lengths[1] + h) * fft.lengths[2] + w) * fft.point();
          for (i64 lane = 0; lane < width; ++lane) {
            float total = 0.0f;
            for (i64 slot = 0; slot < d_.out.slots; ++slot)
              total += from[slot * d_.out.slot + lane];
            to[lane] = total * scale;
          }
        }
  }

  const GradProblem& p_;
  Team& team_;
  FftDense d_;
  i64 panel_;   // floats of the sums of a group
  i64 bundle_;  // floats of its spectra
  i64 some_;    // bundles that are transformed together
  Floats spectra_, sums_;
};

}  // namespace

void grad_fft_dense(const GradProblem& problem, const i64 (&lengths)[3],
                    const Kernels& kernels, Team& team) {
  FftSumGrad(problem, lengths, kernels, team).run();
}

}  // namespace jaxnets
