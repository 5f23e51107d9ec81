// y[q, o] = sum over taps t, c of x[q + t, c] kernel[t, c, o] is what the convolution
// of y by kernel[-t, o, c] has as its input gradient.
#include "mirror.h"

#include "fold.h"

namespace jaxnets {
namespace {

constexpr i64 kFewResults = 128;  // for which the kernel is not turned round

// The convolution that goes the other way, of steps of 1.
Sizes mirrored(Sizes s) {
  std::swap(s.fan_in, s.fan_out);
  for (int a = 0; a < 3; ++a) {
    std::swap(s.spatial[a], s.positions[a]);
    s.lo[a] = s.dilation[a] * (s.window[a] - 1) - s.lo[a];
  }
  return s;
}

}  // namespace

bool suits_mirror(const Sizes& s, const Kernels& kernels) {
  const i64 results = s.batch * s.positions[0] * s.positions[1] * s.positions[2];
  if (results < kFewResults) return false;
  for (int a = 0; a < 3; ++a) {
    const i64 more = s.dilation[a] * (s.window[a] - 1);
    const i64 after = s.positions[a] + more - s.spatial[a] - s.lo[a];
    if (s.strides[a] != 1 || s.lo[a] > more || after > more) return false;
  }
  return suits_fold(mirrored(s), kernels);
}

void mirror_forward(const Sizes& s, const float* x, const float* kernel, float* y,
                    const Kernels& kernels, Team& team) {
  const i64 taps = s.taps();
  Floats turned(taps * s.fan_in * s.out());
  float* to = turned.data();
  for (i64 tap = taps - 1; tap >= 0; --tap)
    for (i64 o = 0; o < s.fan_out; ++o)
      for (i64 group = 0; group < s.groups; ++group)
        for (i64 c = 0; c < s.fan_in; ++c)
          *to++ = kernel[(tap * s.fan_in + c) * s.out() + group * s.fan_out + o];
  fold_input_grad(mirrored(s), x, turned.data(), y, kernels, team);
}

}  // namespace jaxnets
