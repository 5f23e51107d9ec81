// The kernel gradient of a depthwise convolution by transforms.
//
// With z = x1 + i x2 and w = g1 + i g2 of two tiles, the real part of the correlation
// of z and w is what the two contribute: spectra of all tiles are added up and go one
// way back.
#include <cstring>

#include "fft.h"
#include "fft_balance.h"

namespace jaxnets {
namespace {

class FftGrad {
 public:
  FftGrad(const GradProblem& problem, const i64 (&lengths)[3], const Kernels& kernels,
          Team& team)
      : p_(problem),
        team_(team),
        fft_(problem.axes, problem.batch, lengths, kernels),
        lanes_(problem.out(), kernels.lanes) {}

  void run() {
    const i64 groups = ceil_div(fft_.tiles.number(), lanes_.together());
    // Every part of the tiles has a sum of its own.
    const i64 parts = std::min(groups, ceil_div(2 * team_.threads(), lanes_.vectors));
    sums_.resize(lanes_.vectors * parts * fft_.floats());
    team_.run(lanes_.vectors * parts, [&](i64 task) {
      const i64 part = task % parts;
      float* sum = sums_.data() + task * fft_.floats();
      std::memset(sum, 0, fft_.floats() * sizeof(float));
      for (i64 group = groups * part / parts; group < groups * (part + 1) / parts;
           ++group)
        add(task / parts, group, sum);
    });
    team_.run(lanes_.vectors, [&](i64 vector) {
      float* sum = sums_.data() + vector * parts * fft_.floats();
      for (i64 part = 1; part < parts; ++part)
        for (i64 i = 0; i < fft_.floats(); ++i) sum[i] += sum[part * fft_.floats() + i];
      fft_.back(sum);
      write(vector, sum);
    });
  }

 private:
  void add(i64 vector, i64 group, float* sum) const {
    thread_local Floats room;
    float* z = room.resize(2 * fft_.floats());
    float* w = z + fft_.floats();
    for (i64 i = 0; i < lanes_.together(); ++i) {
      const i64 number = group * lanes_.together() + i;
      fft_.lay(lanes_, number, &Tile::cells, p_.x, vector, i, z);
      fft_.lay(lanes_, number, &Tile::results, p_.g, vector, i, w);
    }
    // Real parts of z meet imaginary ones of w in what is dropped, which must not be
    // larger than what is kept.
    Balance apart;
    if (balance(fft_, z, 1, 0, 1, apart)) apart.undo_in(fft_, w);
    fft_.kernels.fft_add_product(z, w, sum, fft_.plan.steps.data(), fft_.plan.count());
  }

  void write(i64 vector, const float* sum) const {
    const float scale = 1.0f / static_cast<float>(fft_.plan.points);
    const i64 width = lanes_.width(vector);
    float* to = p_.dk + vector * fft_.kernels.lanes;
    for (i64 d = 0; d < p_.axes[0].taps; ++d)
      for (i64 h = 0; h < p_.axes[1].taps; ++h)
        for (i64 w = 0; w < p_.axes[2].taps; ++w, to += p_.out()) {
          const float* from =
              sum + ((d * fft_.lengths[1] + h) * fft_.lengths[2] + w) * fft_.point();
          for (i64 lane = 0; lane < width; ++lane) {
            float total = 0.0f;
            for (i64 slot = 0; slot < lanes_.slots; ++slot)
              total += from[slot * width + lane];
            to[lane] = total * scale;
          }
        }
  }

  const GradProblem& p_;
  Team& team_;
  FftLayout fft_;
  FftLanes lanes_;
  Floats sums_;
};

}  // namespace

void grad_fft(const GradProblem& problem, const i64 (&lengths)[3],
              const Kernels& kernels, Team& team) {
  if (problem.fan_in > 1 || problem.fan_out > 1)
    return grad_fft_dense(problem, lengths, kernels, team);
  FftGrad(problem, lengths, kernels, team).run();
}

}  // namespace jaxnets
