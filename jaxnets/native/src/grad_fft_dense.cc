// The kernel gradient of several channels by transforms.
//
// As for one channel, in grad_fft.cc: spectra of the products of every input and every
// output are added up over all tiles and go one way back.
#include <cstring>

#include "fft.h"
#include "fft_dense.h"

namespace jaxnets {
namespace {

constexpr i64 kRows = 16;           // whose products are added together
constexpr i64 kRoom = 1 << 20;      // floats of their spectra
constexpr i64 kMostVectors = 4;     // of outputs that are transformed together
constexpr i64 kInputs = 8;          // whose kernels are written together
constexpr i64 kMostSums = 1 << 24;  // floats of all parts
constexpr i64 kFewSums = 1 << 18;   // floats that a part may have of its own

class FftSumGrad {
 public:
  FftSumGrad(const GradProblem& problem, const i64 (&lengths)[3],
             const Kernels& kernels, Team& team)
      : p_(problem),
        team_(team),
        d_(problem.axes, problem.batch, problem.fan_in, problem.fan_out, lengths,
           kernels),
        panel_(problem.fan_in * d_.out.vectors * d_.fft.floats()) {
    const i64 vectors = d_.out.vectors;
    const i64 bundle = d_.in.vectors + d_.rows * std::min(vectors, kMostVectors);
    some_ = std::clamp<i64>(kRoom / (bundle * d_.step), 1, ceil_div(kRows, d_.rows));
    // Threads share a large kernel's outputs, and otherwise the tiles.
    const i64 wanted = ceil_div(2 * team.threads(), problem.groups);
    const i64 apart = panel_ > kFewSums ? std::min(vectors, wanted) : 1;
    const i64 room = std::max<i64>(kMostSums / (problem.groups * panel_), 1);
    parts_ = std::min({ceil_div(d_.bundles(), some_), room, ceil_div(wanted, apart)});
    shares_ = std::max({apart, std::min(vectors, ceil_div(wanted, parts_)),
                        ceil_div(vectors, kMostVectors)});
  }

  void run() {
    sums_.resize(p_.groups * parts_ * panel_);
    team_.run(p_.groups * parts_ * shares_, [&](i64 task) {
      const i64 share = task % shares_, part = task / shares_ % parts_;
      const i64 steps = ceil_div(d_.bundles(), some_);
      add(task / shares_ / parts_, part, share_of(share),
          {steps * part / parts_, steps * (part + 1) / parts_});
    });
    const i64 inputs = ceil_div(p_.fan_in, kInputs);
    team_.run(p_.groups * inputs * shares_, [&](i64 task) {
      write(task / shares_ / inputs, share_of(task % shares_),
            task / shares_ % inputs * kInputs);
    });
  }

 private:
  Range share_of(i64 share) const {
    const i64 vectors = d_.out.vectors;
    return {vectors * share / shares_, vectors * (share + 1) / shares_};
  }

  // Of one part, as (point, input, vector).
  float* sums_of(i64 group, i64 part, Range vectors) const {
    return sums_.data() + (group * parts_ + part) * panel_ +
           vectors.from * p_.fan_in * d_.fft.floats();
  }

  // The products of some outputs and all inputs, in some steps over the bundles.
  void add(i64 group, i64 part, Range vectors, Range steps) const {
    thread_local Floats room;
    const i64 wide = vectors.count();
    float* sum = sums_of(group, part, vectors);
    std::memset(sum, 0, wide * p_.fan_in * d_.fft.floats() * sizeof(float));
    float* x = room.resize(some_ * (d_.in.vectors + d_.rows * wide) * d_.step);
    for (i64 step = steps.from; step < steps.to; ++step) {
      const i64 count = std::min(some_, d_.bundles() - step * some_);
      const i64 inputs = count * d_.in.vectors, outputs = count * d_.rows * wide;
      float* y = x + inputs * d_.step;
      for (i64 bundle = 0; bundle < count; ++bundle)
        lay(group, step * some_ + bundle, vectors, x + bundle * d_.in.vectors * d_.step,
            y + bundle * d_.rows * wide * d_.step);
      for (i64 i = 0; i < inputs + outputs; ++i) d_.fft.there(x + i * d_.step);
      const std::vector<i64> at = d_.starts(count);
      d_.fft.kernels.fft_mix_grad(d_.sums(x, at.data(), y, wide, sum, count),
                                  d_.fft.plan.points);
    }
  }

  void lay(i64 group, i64 bundle, Range vectors, float* x, float* y) const {
    Image in = p_.x, out = p_.g;
    in.data += group * p_.fan_in, out.data += group * p_.fan_out;
    const i64 wide = vectors.count(), first = bundle * d_.in.together();
    for (i64 i = 0; i < d_.in.together(); ++i) {
      for (i64 vector = 0; vector < d_.in.vectors; ++vector)
        d_.fft.lay(d_.in, first + i, &Tile::cells, in, vector, i, x + vector * d_.step);
      for (i64 vector = 0; vector < wide; ++vector)
        d_.fft.lay(d_.out, first + i, &Tile::results, out, vectors.from + vector,
                   d_.place_of(i), y + (d_.row_of(i) * wide + vector) * d_.step);
    }
    // Real parts of x meet imaginary ones of y in what is dropped, which must not be
    // larger than what is kept.
    Balance apart;
    if (!balance(d_.fft, x, d_.in.vectors, d_.step, d_.in.slot, apart)) return;
    for (i64 row = 0; row < d_.rows && !apart.even; ++row) {
      Balance here = apart;
      if (d_.out.slots == 1)
        std::fill_n(here.undo, kMostLanes, apart.undo[row * d_.in.slot]);
      for (i64 vector = 0; vector < wide; ++vector)
        here.undo_in(d_.fft, y + (row * wide + vector) * d_.step);
    }
  }

  void write(i64 group, Range vectors, i64 first) const {
    thread_local Floats room;
    const FftLayout& fft = d_.fft;
    const i64 count = std::min(kInputs, p_.fan_in - first), wide = vectors.count();
    float* z = room.resize(count * d_.step);
    for (i64 vector = 0; vector < wide; ++vector) {
      for (i64 part = 0; part < parts_; ++part)
        for (i64 point = 0; point < fft.plan.points; ++point)
          for (i64 c = 0; c < count; ++c) {
            const i64 at = (point * p_.fan_in + first + c) * wide + vector;
            const float* from = sums_of(group, part, vectors) + at * fft.point();
            float* to = z + c * d_.step + point * fft.point();
            for (i64 i = 0; i < fft.point(); ++i)
              to[i] = part == 0 ? from[i] : to[i] + from[i];
          }
      for (i64 c = 0; c < count; ++c) {
        fft.back(z + c * d_.step);
        write_taps(group, vectors.from + vector, first + c, z + c * d_.step);
      }
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
  i64 panel_, some_, parts_, shares_;
  Floats sums_;
};

}  // namespace

void grad_fft_dense(const GradProblem& problem, const i64 (&lengths)[3],
                    const Kernels& kernels, Team& team) {
  FftSumGrad(problem, lengths, kernels, team).run();
}

}  // namespace jaxnets
