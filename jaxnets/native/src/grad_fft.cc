// The kernel gradient of a depthwise convolution by transforms.
//
// With z = x1 + i x2 and w = g1 + i g2 of two tiles, the real part of the correlation
// of z and w is what the two contribute: spectra of all tiles are added up and go one
// way back.
#include <cstring>

#include "fft.h"
#include "fft_plan.h"
#include "fft_tiles.h"

namespace jaxnets {
namespace {

class FftGrad {
 public:
  FftGrad(const GradProblem& problem, const i64 (&lengths)[3], const Kernels& kernels,
          Team& team)
      : p_(problem),
        kernels_(kernels),
        team_(team),
        plan_(lengths),
        tiles_(problem.axes, problem.batch, lengths),
        lanes_(problem.out(), kernels.lanes),
        lengths_{lengths[0], lengths[1], lengths[2]} {}

  void run() {
    const i64 groups = ceil_div(tiles_.number(), lanes_.together());
    // Every part of the tiles has a sum of its own.
    const i64 parts = std::min(groups, ceil_div(2 * team_.threads(), lanes_.vectors));
    sums_.resize(lanes_.vectors * parts * floats());
    team_.run(lanes_.vectors * parts, [&](i64 task) {
      const i64 part = task % parts;
      float* sum = sums_.data() + task * floats();
      std::memset(sum, 0, floats() * sizeof(float));
      for (i64 group = groups * part / parts; group < groups * (part + 1) / parts;
           ++group)
        add(task / parts, group, sum);
    });
    team_.run(lanes_.vectors, [&](i64 vector) {
      float* sum = sums_.data() + vector * parts * floats();
      for (i64 part = 1; part < parts; ++part)
        for (i64 i = 0; i < floats(); ++i) sum[i] += sum[part * floats() + i];
      kernels_.fft_back(sum, plan_.steps.data(), plan_.count());
      write(vector, sum);
    });
  }

 private:
  i64 point() const { return 2 * kernels_.lanes; }
  i64 floats() const { return plan_.points * point(); }

  void add(i64 vector, i64 group, float* sum) const {
    thread_local Floats room;
    float* z = room.resize(2 * floats());
    float* w = z + floats();
    for (i64 i = 0; i < lanes_.together(); ++i) {
      const i64 number = group * lanes_.together() + i;
      lay(kernels_, tiles_, lanes_, number, &Tile::cells, p_.x, vector, i, z,
          plan_.points);
      lay(kernels_, tiles_, lanes_, number, &Tile::results, p_.g, vector, i, w,
          plan_.points);
    }
    // Real parts of z meet imaginary ones of w in what is dropped, which must not be
    // larger than what is kept.
    float undo[16];
    kernels_.fft_balance(z, w, plan_.points, undo);
    kernels_.fft_add_product(z, w, sum, plan_.steps.data(), plan_.count());
  }

  void write(i64 vector, const float* sum) const {
    const float scale = 1.0f / static_cast<float>(plan_.points);
    const i64 width = lanes_.width(vector);
    float* to = p_.dk + vector * kernels_.lanes;
    for (i64 d = 0; d < p_.axes[0].taps; ++d)
      for (i64 h = 0; h < p_.axes[1].taps; ++h)
        for (i64 w = 0; w < p_.axes[2].taps; ++w, to += p_.out()) {
          const float* from = sum + ((d * lengths_[1] + h) * lengths_[2] + w) * point();
          for (i64 lane = 0; lane < width; ++lane) {
            float total = 0.0f;
            for (i64 slot = 0; slot < lanes_.slots; ++slot)
              total += from[slot * width + lane];
            to[lane] = total * scale;
          }
        }
  }

  const GradProblem& p_;
  const Kernels& kernels_;
  Team& team_;
  FftPlan plan_;
  Tiles tiles_;
  FftLanes lanes_;
  i64 lengths_[3];
  Floats sums_;
};

}  // namespace

void grad_fft(const GradProblem& problem, const i64 (&lengths)[3],
              const Kernels& kernels, Team& team) {
  FftGrad(problem, lengths, kernels, team).run();
}

}  // namespace jaxnets
