// Depthwise convolution by transforms.
//
// The kernel is real, so two tiles go through one transform, as its real and its
// imaginary part, and nothing has to be taken apart. A tile is transformed, multiplied
// and transformed back block by block, while the blocks are in the cache.
#include "fft.h"

#include <cmath>
#include <cstring>

#include "fft_check.h"

namespace jaxnets {
namespace {

constexpr i64 kMostPoints = 1 << 22;
constexpr double kMostSpectra = 1 << 26;

class Fft {
 public:
  Fft(const Problem& problem, const Transforms& transforms, const Kernels& kernels,
      Team& team)
      : p_(problem),
        team_(team),
        fft_(problem.axes, problem.batch, transforms.lengths, kernels),
        lanes_(problem.out(), kernels.lanes),
        check_(fft_),
        elementwise_(transforms.elementwise) {}

  bool run() {
    spectra_.resize(lanes_.vectors * fft_.floats());
    team_.run(lanes_.vectors, [&](i64 vector) { spectrum(vector); });
    if (elementwise_) check_.keep_elementwise(p_, spectral_peaks(), team_);
    if (!check_.possible()) return false;
    const i64 groups = ceil_div(fft_.tiles.number(), lanes_.together());
    team_.run(lanes_.vectors * groups,
              [&](i64 task) { tiles(task / groups, task % groups); });
    return check_.finish(fft_.kernels, team_);
  }

 private:
  float* spectrum_of(i64 vector) { return spectra_.data() + vector * fft_.floats(); }

  // The kernel's, divided by what the transforms multiply by.
  void spectrum(i64 vector) {
    float* k = spectrum_of(vector);
    std::memset(k, 0, fft_.floats() * sizeof(float));
    const Axis* axes = p_.axes;
    const float scale = 1.0f / static_cast<float>(fft_.plan.points);
    const auto numbers = tap_numbers(axes, p_.window);
    for (i64 d = 0; d < axes[0].taps; ++d)
      for (i64 h = 0; h < axes[1].taps; ++h) {
        float* row = k + (d * fft_.lengths[1] + h) * fft_.lengths[2] * fft_.point();
        const i64 tap = numbers[(d * axes[1].taps + h) * axes[2].taps];
        const float* from = p_.weights.at(tap, vector * fft_.kernels.lanes);
        for (i64 slot = 0; slot < lanes_.slots; ++slot)
          fft_.kernels.fft_place(from, axes[2].kernel_step * p_.weights.of_tap,
                                 axes[2].taps, lanes_.width(vector),
                                 lanes_.stored(slot), row + lanes_.offset(slot));
        for (i64 i = 0; i < axes[2].taps * fft_.point(); ++i) row[i] *= scale;
      }
    fft_.there(k);
  }

  // Tiles that go together. What is not finite would spread from the real parts to the
  // imaginary ones, so these then go apart.
  void tiles(i64 vector, i64 group) {
    const i64 first = group * lanes_.together(), half = lanes_.slots;
    if (check_.hopeless() || filter(vector, first, first + half, false)) return;
    filter(vector, first, fft_.tiles.number(), true);
    filter(vector, first + half, fft_.tiles.number(), true);
  }

  // Tiles from number `real` and from number `imaginary` on. False, and nothing done,
  // if they are not finite, unless they go `anyway`.
  bool filter(i64 vector, i64 real, i64 imaginary, bool anyway) {
    thread_local Floats room;
    float* z = room.resize(fft_.floats());
    const i64 half = lanes_.slots;
    lay_tiles(vector, real, 0, half, z);
    lay_tiles(vector, imaginary, half, half, z);
    Checked found;
    if (!check_.tiles(z, 1, 0, 1, 1, least(vector), found) && !anyway) return false;
    for (i64 i = 0; i < half; ++i) {
      const i64 from = i * lanes_.slot, to = from + lanes_.width(vector);
      check_.mark(found, false, from, to, real + i);
      check_.mark(found, true, from, to, imaginary + i);
    }
    fft_.kernels.fft_filter(z, spectrum_of(vector), fft_.plan.steps.data(),
                            fft_.plan.count());
    take_tiles(vector, real, 0, z, found.scale);
    take_tiles(vector, imaginary, half, z, found.scale + kMostLanes);
    return true;
  }

  // The channel of a lane, counted from the first one of its vector.
  i64 channel_of(i64 lane) const {
    return lanes_.slots > 1 ? lane % lanes_.slot : lane;
  }

  Least least(i64 vector) const {
    Least found;
    if (!elementwise_) return found;
    for (int crest = 0; crest < kCrests; ++crest)
      for (i64 lane = 0; lane < lanes_.lanes; ++lane)
        if (const i64 channel = channel_of(lane); channel < lanes_.width(vector))
          found.of[crest][lane] =
              check_.cover().least(vector * lanes_.chunk + channel, crest);
    return found;
  }

  // At least the largest size in the spectrum of every channel.
  std::vector<float> spectral_peaks() {
    std::vector<float> found(p_.out());
    for (i64 vector = 0; vector < lanes_.vectors; ++vector) {
      alignas(64) float peaks[2 * kMostLanes] = {}, energies[2 * kMostLanes] = {};
      fft_.kernels.fft_sizes(spectrum_of(vector), fft_.plan.points, peaks, energies);
      for (i64 lane = 0; lane < lanes_.width(vector); ++lane)
        found[vector * lanes_.chunk + lane] =
            std::hypot(peaks[lane], peaks[lanes_.lanes + lane]) *
            static_cast<float>(fft_.plan.points);
    }
    return found;
  }

  void lay_tiles(i64 vector, i64 first, i64 place, i64 count, float* z) const {
    for (i64 i = 0; i < count; ++i)
      fft_.lay(lanes_, first + i, &Tile::cells, p_.x, vector, place + i, z);
  }

  void take_tiles(i64 vector, i64 first, i64 place, const float* z,
                  const float* scale) const {
    for (i64 i = 0; i < lanes_.slots; ++i)
      fft_.take(lanes_, first + i, z, place + i, scale + i * lanes_.slot, vector,
                p_.size, p_.out(), p_.y);
  }

  const Problem& p_;
  Team& team_;
  FftLayout fft_;
  FftLanes lanes_;
  FftCheck check_;
  bool elementwise_;
  Floats spectra_;
};

}  // namespace

const char* fft_refuses(const Sizes& s, const i64 (&lengths)[3]) {
  i64 points = 1;
  for (int a = 0; a < 3; ++a) {
    if (s.strides[a] != 1) return "strides of 1 are needed";
    if (lengths[a] < s.window[a]) return "a window longer than the transform";
    if (lengths[a] > kMostPoints || (points *= lengths[a]) > kMostPoints)
      return "too long a transform";
    if (lengths[a] != 1 && radices_of(lengths[a]).empty())
      return "a length with other prime factors than 2 and 3";
  }
  const double kernels = static_cast<double>(s.channels()) * (s.fan_out + kMostLanes);
  if (kernels * static_cast<double>(points) > kMostSpectra)
    return "too long a transform for so many channels";
  return nullptr;
}

bool solve_fft(const Problem& problem, const Transforms& transforms,
               const Kernels& kernels, Team& team) {
  if (problem.fan_in > 1 || problem.fan_out > 1)
    return solve_fft_dense(problem, transforms, kernels, team);
  return Fft(problem, transforms, kernels, team).run();
}

}  // namespace jaxnets
