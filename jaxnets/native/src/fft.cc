// Depthwise convolution by transforms.
//
// The kernel is real, so two tiles go through one transform, as its real and its
// imaginary part, and nothing has to be taken apart. A tile is transformed, multiplied
// and transformed back block by block, while the blocks are in the cache.
#include "fft.h"

#include <cstring>

#include "fft_tiles.h"

namespace jaxnets {
namespace {

constexpr i64 kMostPoints = 1 << 22;
constexpr float kOnes[kMostLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

class Fft {
 public:
  Fft(const Problem& problem, const i64 (&lengths)[3], const Kernels& kernels,
      Team& team)
      : p_(problem),
        team_(team),
        fft_(problem.axes, problem.batch, problem.out(), lengths, kernels) {}

  void run() {
    spectra_.resize(fft_.lanes.vectors * fft_.floats());
    team_.run(fft_.lanes.vectors, [&](i64 vector) { spectrum(vector); });
    const i64 groups = ceil_div(fft_.tiles.number(), fft_.lanes.together());
    team_.run(fft_.lanes.vectors * groups,
              [&](i64 task) { tiles(task / groups, task % groups); });
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
        for (i64 slot = 0; slot < fft_.lanes.slots; ++slot)
          fft_.kernels.fft_place(from, axes[2].kernel_step * p_.weights.of_tap,
                                 axes[2].taps, fft_.lanes.width(vector),
                                 fft_.lanes.stored(vector, slot),
                                 row + fft_.lanes.offset(slot));
        for (i64 i = 0; i < axes[2].taps * fft_.point(); ++i) row[i] *= scale;
      }
    fft_.kernels.fft_there(k, fft_.plan.steps.data(), fft_.plan.count());
  }

  // Tiles that go together. What is not finite would spread from the real parts to the
  // imaginary ones, so these then go apart.
  void tiles(i64 vector, i64 group) {
    thread_local Floats room;
    float* z = room.resize(fft_.floats());
    const i64 first = group * fft_.lanes.together(), half = fft_.lanes.slots;
    alignas(64) float undo[kMostLanes];
    lay_tiles(vector, first, 0, half, z);
    lay_tiles(vector, first + half, half, half, z);
    if (fft_.kernels.fft_balance(z, nullptr, fft_.plan.points, undo)) {
      fft_.kernels.fft_filter(z, spectrum_of(vector), fft_.plan.steps.data(),
                              fft_.plan.count());
      take_tiles(vector, first, 0, z, kOnes);
      take_tiles(vector, first + half, half, z, undo);
      return;
    }
    for (const i64 from : {first, first + half}) {
      lay_tiles(vector, from, 0, half, z);
      lay_tiles(vector, fft_.tiles.number(), half, half, z);
      fft_.kernels.fft_filter(z, spectrum_of(vector), fft_.plan.steps.data(),
                              fft_.plan.count());
      take_tiles(vector, from, 0, z, kOnes);
    }
  }

  void lay_tiles(i64 vector, i64 first, i64 place, i64 count, float* z) const {
    for (i64 i = 0; i < count; ++i)
      fft_.lay(first + i, &Tile::cells, p_.x, vector, place + i, z);
  }

  void take_tiles(i64 vector, i64 first, i64 place, const float* z,
                  const float* scale) const {
    for (i64 i = 0; i < fft_.lanes.slots && first + i < fft_.tiles.number(); ++i) {
      const Tile tile = fft_.tiles[first + i];
      const i64 slot = i * fft_.lanes.channels;
      const float* from = z + fft_.lanes.offset(place + i);
      float* y = p_.y + vector * fft_.kernels.lanes;
      const i64 step = tile.results[2].step * p_.out();
      fft_.tiles.rows(tile.results, p_.size, p_.out(), tile.image,
                      [&](i64 point, i64 at, i64 count) {
                        if (at >= 0)
                          fft_.kernels.fft_take(from + point * fft_.point(), count,
                                                fft_.lanes.width(vector), scale + slot,
                                                y + at, step);
                      });
    }
  }

  const Problem& p_;
  Team& team_;
  FftLayout fft_;
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
