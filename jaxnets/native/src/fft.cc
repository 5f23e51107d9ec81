// Depthwise convolution by transforms.
//
// The kernel is real, so two tiles go through one transform, as its real and its
// imaginary part, and nothing has to be taken apart. A tile is transformed, multiplied
// and transformed back block by block, while the blocks are in the cache.
#include "fft.h"

#include <cstring>

#include "fft_plan.h"
#include "fft_tiles.h"

namespace jaxnets {
namespace {

constexpr i64 kMostPoints = 1 << 22;
constexpr int kMostLanes = 16;
constexpr float kOnes[kMostLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

class Fft {
 public:
  Fft(const Problem& problem, const i64 (&lengths)[3], const Kernels& kernels,
      Team& team)
      : p_(problem),
        kernels_(kernels),
        team_(team),
        plan_(lengths),
        tiles_(problem.axes, problem.batch, lengths),
        lanes_(problem.out(), kernels.lanes),
        lengths_{lengths[0], lengths[1], lengths[2]} {}

  void run() {
    spectra_.resize(lanes_.vectors * floats());
    team_.run(lanes_.vectors, [&](i64 vector) { spectrum(vector); });
    const i64 groups = ceil_div(tiles_.number(), lanes_.together());
    team_.run(lanes_.vectors * groups,
              [&](i64 task) { tiles(task / groups, task % groups); });
  }

 private:
  i64 point() const { return 2 * kernels_.lanes; }
  i64 floats() const { return plan_.points * point(); }
  float* spectrum_of(i64 vector) { return spectra_.data() + vector * floats(); }

  // The kernel's, divided by what the transforms multiply by.
  void spectrum(i64 vector) {
    float* k = spectrum_of(vector);
    std::memset(k, 0, floats() * sizeof(float));
    const Axis* axes = p_.axes;
    const float scale = 1.0f / static_cast<float>(plan_.points);
    const auto numbers = tap_numbers(axes, p_.window);
    for (i64 d = 0; d < axes[0].taps; ++d)
      for (i64 h = 0; h < axes[1].taps; ++h) {
        float* row = k + (d * lengths_[1] + h) * lengths_[2] * point();
        const i64 tap = numbers[(d * axes[1].taps + h) * axes[2].taps];
        const float* from = p_.weights.at(tap, vector * kernels_.lanes);
        for (i64 slot = 0; slot < lanes_.slots; ++slot)
          kernels_.fft_place(from, axes[2].kernel_step * p_.weights.of_tap,
                             axes[2].taps, lanes_.width(vector),
                             lanes_.stored(vector, slot), row + lanes_.offset(slot));
        for (i64 i = 0; i < axes[2].taps * point(); ++i) row[i] *= scale;
      }
    kernels_.fft_there(k, plan_.steps.data(), plan_.count());
  }

  // Tiles that go together. What is not finite would spread from the real parts to the
  // imaginary ones, so these then go apart.
  void tiles(i64 vector, i64 group) {
    thread_local Floats room;
    float* z = room.resize(floats());
    const i64 first = group * lanes_.together(), half = lanes_.slots;
    alignas(64) float undo[kMostLanes];
    lay_tiles(vector, first, 0, half, z);
    lay_tiles(vector, first + half, half, half, z);
    if (kernels_.fft_balance(z, nullptr, plan_.points, undo)) {
      kernels_.fft_filter(z, spectrum_of(vector), plan_.steps.data(), plan_.count());
      take_tiles(vector, first, 0, z, kOnes);
      take_tiles(vector, first + half, half, z, undo);
      return;
    }
    for (const i64 from : {first, first + half}) {
      lay_tiles(vector, from, 0, half, z);
      lay_tiles(vector, tiles_.number(), half, half, z);
      kernels_.fft_filter(z, spectrum_of(vector), plan_.steps.data(), plan_.count());
      take_tiles(vector, from, 0, z, kOnes);
    }
  }

  void lay_tiles(i64 vector, i64 first, i64 place, i64 count, float* z) const {
    for (i64 i = 0; i < count; ++i)
      lay(kernels_, tiles_, lanes_, first + i, &Tile::cells, p_.x, vector, place + i, z,
          plan_.points);
  }

  void take_tiles(i64 vector, i64 first, i64 place, const float* z,
                  const float* scale) const {
    for (i64 i = 0; i < lanes_.slots && first + i < tiles_.number(); ++i) {
      const Tile tile = tiles_[first + i];
      const i64 slot = i * lanes_.channels;
      const float* from = z + lanes_.offset(place + i);
      float* y = p_.y + vector * kernels_.lanes;
      const i64 step = tile.results[2].step * p_.out();
      tiles_.rows(tile.results, p_.size, p_.out(), tile.image,
                  [&](i64 point, i64 at, i64 count) {
                    if (at >= 0)
                      kernels_.fft_take(from + point * this->point(), count,
                                        lanes_.width(vector), scale + slot, y + at,
                                        step);
                  });
    }
  }

  const Problem& p_;
  const Kernels& kernels_;
  Team& team_;
  FftPlan plan_;
  Tiles tiles_;
  FftLanes lanes_;
  i64 lengths_[3];
  Floats spectra_;
};

}  // namespace

const char* fft_refuses(const Sizes& s, const i64 (&lengths)[3]) {
  if (s.fan_in != 1 || s.fan_out != 1) return "one channel a group is needed";
  i64 points = 1;
  for (int a = 0; a < 3; ++a) {
    if (s.strides[a] != 1) return "strides of 1 are needed";
    if (lengths[a] < s.window[a]) return "a window longer than the transform";
    if (lengths[a] > kMostPoints || (points *= lengths[a]) > kMostPoints)
      return "too long a transform";
    if (lengths[a] != 1 && radices_of(lengths[a]).empty())
      return "a length with other prime factors than 2 and 3";
  }
  return nullptr;
}

void solve_fft(const Problem& problem, const i64 (&lengths)[3], const Kernels& kernels,
               Team& team) {
  Fft(problem, lengths, kernels, team).run();
}

}  // namespace jaxnets
