#include "grad_check.h"

#include <cmath>
#include <limits>

#include "exact.h"
#include "fft_cover.h"

namespace jaxnets {
namespace {

constexpr i64 kLeastPositions = 256;  // over which L is summed
constexpr i64 kShare = 64;            // of all positions, if those are more
constexpr i64 kRows = 1 << 10;        // whose squares a float sums
constexpr i64 kWide = 32;             // floats of rows that are summed side by side

// The norm of every channel, or nothing if one is not finite, or too large or too small
// for transforms.
std::vector<double> norms(const Image& image, i64 batch, Team& team) {
  const i64 channels = image.channels, rows = batch * image.floats() / channels;
  const i64 parts = std::min<i64>(4 * team.threads(), ceil_div(rows, kRows));
  // Rows of few channels go several at a time.
  const i64 together = std::max<i64>(kWide / channels, 1), wide = together * channels;
  std::vector<double> sums(parts * channels);
  std::vector<float> peaks(parts * channels);
  team.run(parts, [&](i64 part) {
    std::vector<float> some(wide), peak(wide);
    double* to = sums.data() + part * channels;
    const auto add = [&](const float* from, i64 count) {
      for (i64 c = 0; c < count; ++c) {
        const float size = std::abs(from[c]);
        some[c] += size * size;
        peak[c] = peak[c] < size ? size : peak[c];
      }
    };
    const i64 end = rows * (part + 1) / parts;
    for (i64 row = rows * part / parts; row < end;) {
      std::fill(some.begin(), some.end(), 0.0f);
      const i64 stop = std::min(end, row + kRows);
      for (; row + together <= stop; row += together)
        add(image.data + row * channels, wide);
      for (; row < stop; ++row) add(image.data + row * channels, channels);
      for (i64 c = 0; c < wide; ++c) to[c % channels] += some[c];
    }
    float* highest = peaks.data() + part * channels;
    for (i64 c = 0; c < wide; ++c)
      highest[c % channels] = std::max(highest[c % channels], peak[c]);
  });
  for (i64 c = 0; c < channels; ++c) {
    double sum = 0;
    float peak = 0;
    for (i64 part = 0; part < parts; ++part) {
      sum += sums[part * channels + c];
      peak = std::max(peak, peaks[part * channels + c]);
    }
    const double rms = std::sqrt(sum / static_cast<double>(rows));
    if (!(rms < kLargestUsed) || (peak != 0 && rms < kSmallest)) return {};
    sums[c] = std::sqrt(sum);
  }
  sums.resize(channels);
  return sums;
}

void copy_sizes(const float* from, i64 count, float* to) {
  for (i64 i = 0; i < count; ++i) to[i] = std::abs(from[i]);
}

// A part of the positions in the middle of the batch, or of the image in the middle,
// and what they meet, all of it by size.
class Sample {
 public:
  Sample(const GradProblem& whole, Floats& dk) : p_(whole) {
    i64 positions = 1;
    for (int a = 0; a < 3; ++a) {
      positions *= whole.axes[a].count;
      x_size_[a] = whole.x.size[a], g_size_[a] = whole.g.size[a];
    }
    const i64 wanted =
        std::max(kLeastPositions, ceil_div(whole.batch * positions, kShare));
    p_.batch = std::min(whole.batch, ceil_div(wanted, positions));
    const i64 image = (whole.batch - p_.batch) / 2;
    const float* x = whole.x.data + image * whole.x.floats();
    const float* g = whole.g.data + image * whole.g.floats();
    if (p_.batch == 1) narrow(wanted, positions, x, g);
    p_.x.size = x_size_, p_.g.size = g_size_;
    p_.x.data = x_.resize(p_.batch * p_.x.floats());
    p_.g.data = g_.resize(p_.batch * p_.g.floats());
    copy_sizes(x, p_.batch * p_.x.floats(), x_.data());
    copy_sizes(g, p_.batch * p_.g.floats(), g_.data());
    p_.dk = dk.resize(p_.kernel());
  }

  const GradProblem& problem() const { return p_; }

 private:
  // Positions in the middle of the outermost axis that has several.
  void narrow(i64 wanted, i64 positions, const float*& x, const float*& g) {
    int a = 0;
    while (a < 2 && p_.axes[a].count == 1) ++a;
    Axis& axis = p_.axes[a];
    const i64 each = positions / axis.count;
    const i64 count = std::min(axis.count, ceil_div(wanted, each));
    const i64 first = (axis.count - count) / 2;
    i64 x_row = p_.x.channels, g_row = p_.g.channels;
    for (int inner = a + 1; inner < 3; ++inner)
      x_row *= x_size_[inner], g_row *= g_size_[inner];
    // Axes before it have one position, but may have several points of x, which stay.
    if (a > 0 && (x_size_[0] > 1 || (a == 2 && x_size_[1] > 1))) return;
    axis.first += first * axis.step;
    axis.count = g_size_[a] = count;
    g += first * g_row;
    const i64 from = std::clamp<i64>(axis.first, 0, axis.size - 1);
    const i64 to = std::clamp<i64>(axis.first + axis.cells(count), from + 1, axis.size);
    x += from * x_row;
    axis.first -= from;
    axis.size = x_size_[a] = to - from;
  }

  GradProblem p_;
  i64 x_size_[3], g_size_[3];
  Floats x_, g_;
};

}  // namespace

bool transforms_keep_grad(const GradProblem& p, const i64 (&lengths)[3],
                          const Kernels& kernels, Team& team) {
  const i64 positions = p.axes[0].count * p.axes[1].count * p.axes[2].count;
  const Numbers all_x{p.x.data, p.batch * p.x.floats()};
  const Numbers all_g{p.g.data, p.batch * p.g.floats()};
  if (sums_are_exact(all_x, all_g, p.batch * positions)) return false;
  const std::vector<double> x = norms(p.x, p.batch, team);
  const std::vector<double> g = norms(p.g, p.batch, team);
  if (x.empty() || g.empty()) return false;
  Floats dk;
  const Sample sample(p, dk);
  grad_sums(sample.problem(), kernels, team);
  const double points = static_cast<double>(lengths[0] * lengths[1] * lengths[2]);
  const double share =
      std::log2(points) / static_cast<double>(p.batch * positions);
  std::atomic<bool> kept = true;
  const i64 rows = p.taps() * p.fan_in;
  team.run(std::min<i64>(rows, 4 * team.threads()), [&](i64 task) {
    const i64 tasks = std::min<i64>(rows, 4 * team.threads());
    bool all = true;
    for (i64 row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row)
      for (i64 group = 0; group < p.groups; ++group) {
        const double wanted = share * x[group * p.fan_in + row % p.fan_in];
        const float* from = dk.data() + row * p.out() + group * p.fan_out;
        const double* outputs = g.data() + group * p.fan_out;
        for (i64 o = 0; o < p.fan_out; ++o)
          all = all && from[o] >= wanted * outputs[o];
      }
    if (!all) kept = false;
  });
  return kept;
}

}  // namespace jaxnets
