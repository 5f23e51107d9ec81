// Convolution of several channels by transforms: spectra are summed over the inputs.
//
// The kernel is real, so two tiles go through one transform, as its real and its
// imaginary part, and nothing has to be taken apart. A task transforms the inputs of a
// few bundles of tiles and then, a few vectors of outputs at a time, multiplies and
// transforms back.
#include "fft_dense.h"

#include <cstring>

#include "fft.h"
#include "fft_check.h"

namespace jaxnets {
namespace {

constexpr i64 kRows = 4, kVectors = 2;  // whose sums are formed together
constexpr i64 kRoom = 1 << 20;          // floats of the spectra of their inputs

// Which tiles of a bundle: all of them, or those of one half, in real parts alone.
enum class Half { kBoth, kFirst, kSecond };

class FftSum {
 public:
  FftSum(const Problem& problem, const Transforms& transforms, const Kernels& kernels,
         Team& team)
      : p_(problem),
        team_(team),
        d_(problem.axes, problem.batch, problem.fan_in, problem.fan_out,
           transforms.lengths, kernels),
        check_(d_.fft),
        elementwise_(transforms.elementwise),
        panel_(problem.fan_in * d_.out.vectors * d_.fft.floats()),
        taps_(tap_numbers(problem.axes, problem.window)) {}

  bool run() {
    if (elementwise_) check_.keep_elementwise(p_, {}, team_);
    if (!check_.possible()) return false;
    spectra_.resize(p_.groups * panel_);
    const i64 inputs = ceil_div(p_.fan_in, d_.some_inputs());
    const i64 columns = ceil_div(d_.out.vectors, kVectors);
    team_.run(p_.groups * inputs * columns, [&](i64 task) {
      spectra(task / inputs / columns, task % columns * kVectors,
              task / columns % inputs * d_.some_inputs());
    });
    const i64 bundles = d_.bundles();
    const i64 share = bundles * p_.groups / (2 * team_.threads());
    const i64 room = kRoom / (d_.in.vectors * d_.step);
    const i64 some =
        std::max<i64>(std::min({share, room, ceil_div(kRows, d_.rows)}), 1);
    const i64 parts = ceil_div(bundles, some);
    team_.run(p_.groups * parts, [&](i64 task) {
      const i64 group = task / parts, first = task % parts * some;
      const i64 count = std::min(some, bundles - first);
      if (check_.hopeless() || convolve(group, first, count, Half::kBoth)) return;
      // What is not finite would spread from the real parts to the imaginary ones.
      convolve(group, first, count, Half::kFirst);
      convolve(group, first, count, Half::kSecond);
    });
    return check_.finish(d_.fft.kernels, team_);
  }

 private:
  // The kernels of a column of outputs.
  float* panel(i64 group, i64 column) const {
    return spectra_.data() + group * panel_ + column * p_.fan_in * d_.fft.floats();
  }

  // Of some inputs to a column of outputs, divided by what transforms multiply by.
  void spectra(i64 group, i64 column, i64 first) {
    thread_local Floats room;
    const FftLayout& fft = d_.fft;
    const i64 count = std::min(d_.some_inputs(), p_.fan_in - first);
    const i64 wide = std::min(kVectors, d_.out.vectors - column);
    float* z = room.resize(wide * count * d_.step);
    std::memset(z, 0, wide * count * d_.step * sizeof(float));
    for (i64 vector = 0; vector < wide; ++vector)
      lay_kernels(group, column + vector, first, count, z + vector * count * d_.step);
    for (i64 i = 0; i < wide * count; ++i) fft.there(z + i * d_.step);
    const float scale = 1.0f / static_cast<float>(fft.plan.points);
    for (i64 point = 0; point < fft.plan.points; ++point) {
      float* to =
          panel(group, column) + (point * p_.fan_in + first) * wide * fft.point();
      for (i64 i = 0; i < count; ++i)
        for (i64 vector = 0; vector < wide; ++vector, to += fft.point()) {
          const float* from = z + (vector * count + i) * d_.step + point * fft.point();
          for (i64 j = 0; j < fft.point(); ++j) to[j] = scale * from[j];
        }
    }
  }

  void lay_kernels(i64 group, i64 vector, i64 first, i64 count, float* z) const {
    const FftLayout& fft = d_.fft;
    const Axis* axes = p_.axes;
    std::size_t tap = 0;
    for (i64 d = 0; d < axes[0].taps; ++d)
      for (i64 h = 0; h < axes[1].taps; ++h)
        for (i64 w = 0; w < axes[2].taps; ++w, ++tap) {
          const float* from = p_.weights.at(taps_[tap], group) +
                              first * p_.weights.of_in +
                              vector * d_.out.chunk * p_.weights.of_out;
          const i64 point = (d * fft.lengths[1] + h) * fft.lengths[2] + w;
          for (i64 slot = 0; slot < d_.out.slots; ++slot)
            lay_tap(from, d_.out.width(vector), count,
                    z + point * fft.point() + d_.out.offset(slot));
        }
  }

  void lay_tap(const float* from, i64 width, i64 count, float* to) const {
    if (p_.weights.of_in == 1)
      return d_.fft.kernels.transpose(from, p_.weights.of_out, width, count, to,
                                      d_.step, width);
    for (i64 c = 0; c < count; ++c)
      std::memcpy(to + c * d_.step, from + c * p_.weights.of_in, width * sizeof(float));
  }

  // The outputs of some bundles, of one group; false, and nothing done, if two halves
  // must go apart.
  bool convolve(i64 group, i64 first, i64 count, Half half) {
    thread_local Floats room;
    const i64 inputs = count * d_.in.vectors, rows = count * d_.rows;
    float* x = room.resize((inputs + rows * kVectors) * d_.step);
    float* y = x + inputs * d_.step;
    std::vector<Checked> found(count);
    const Least least = this->least(group);
    for (i64 bundle = 0; bundle < count; ++bundle) {
      float* z = x + bundle * d_.in.vectors * d_.step;
      lay_inputs(group, first + bundle, half, z);
      const bool finite = check_.tiles(z, d_.in.vectors, d_.step, d_.in.slot,
                                       p_.fan_in, least, found[bundle]);
      if (half == Half::kBoth && !finite) return false;
      for (i64 i = 0; i < d_.in.together(); ++i) {
        const i64 lane = i % d_.in.slots * d_.in.slot;
        check_.mark(found[bundle], i >= d_.in.slots, lane, lane + 1,
                    tile(first + bundle, i, half));
      }
    }
    for (i64 i = 0; i < inputs; ++i) d_.fft.there(x + i * d_.step);
    const std::vector<i64> at = d_.starts(count);
    for (i64 column = 0; column < d_.out.vectors; column += kVectors) {
      const i64 wide = std::min(kVectors, d_.out.vectors - column);
      d_.fft.kernels.fft_mix(
          d_.sums(x, at.data(), y, wide, panel(group, column), count), 0,
          d_.fft.plan.points);
      for (i64 i = 0; i < rows * wide; ++i) d_.fft.back(y + i * d_.step);
      for (i64 bundle = 0; bundle < count; ++bundle)
        take_outputs(group, first + bundle, half, {column, column + wide},
                     y + bundle * d_.rows * wide * d_.step, found[bundle]);
    }
    return true;
  }

  // What all outputs of a group need.
  Least least(i64 group) const {
    Least found;
    if (!elementwise_) return found;
    for (int crest = 0; crest < kCrests; ++crest) {
      float most = 0;
      for (i64 o = 0; o < p_.fan_out; ++o)
        most = std::max(most, check_.cover().least(group * p_.fan_out + o, crest));
      std::fill_n(found.of[crest], kMostLanes, most);
    }
    return found;
  }

  // Tile i of a bundle, or one that is not there.
  i64 tile(i64 bundle, i64 i, Half half) const {
    const i64 first = bundle * d_.in.together();
    if (half == Half::kBoth) return first + i;
    if (i >= d_.in.slots) return d_.fft.tiles.number();
    return first + i + (half == Half::kSecond ? d_.in.slots : 0);
  }

  void lay_inputs(i64 group, i64 bundle, Half half, float* z) const {
    Image x = p_.x;
    x.data += group * p_.fan_in;
    for (i64 vector = 0; vector < d_.in.vectors; ++vector)
      for (i64 i = 0; i < d_.in.together(); ++i)
        d_.fft.lay(d_.in, tile(bundle, i, half), &Tile::cells, x, vector, i,
                   z + vector * d_.step);
  }

  void take_outputs(i64 group, i64 bundle, Half half, Range vectors, const float* y,
                    const Checked& found) const {
    for (i64 i = 0; i < d_.in.together(); ++i) {
      alignas(64) float scale[kMostLanes];
      const i64 part = i < d_.in.slots ? 0 : kMostLanes;
      std::fill_n(scale, kMostLanes,
                  found.scale[part + i % d_.in.slots * d_.in.slot]);
      for (i64 vector = vectors.from; vector < vectors.to; ++vector) {
        const i64 at = d_.row_of(i) * vectors.count() + vector - vectors.from;
        d_.fft.take(d_.out, tile(bundle, i, half), y + at * d_.step, d_.place_of(i),
                    scale, vector, p_.size, p_.out(), p_.y + group * p_.fan_out);
      }
    }
  }

  const Problem& p_;
  Team& team_;
  FftDense d_;
  FftCheck check_;
  bool elementwise_;
  i64 panel_;              // floats of the spectra of a group's kernels
  std::vector<i64> taps_;  // their numbers in the kernel, in the order of the window
  Floats spectra_;
};

}  // namespace

bool solve_fft_dense(const Problem& problem, const Transforms& transforms,
                     const Kernels& kernels, Team& team) {
  return FftSum(problem, transforms, kernels, team).run();
}

}  // namespace jaxnets
