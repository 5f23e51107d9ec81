// The three functions as XLA calls them.
#include "xla/ffi/api/ffi.h"

#include <atomic>
#include <cstdint>
#include <string>

#include "conv.h"
#include "fft.h"

namespace jaxnets {

const Kernels& best_kernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    return kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2"))
    return kAvx2;
#endif
  return kGeneric;
}

namespace {

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::Result<ffi::Buffer<ffi::F32>>;
using Numbers = ffi::Span<const std::int64_t>;
using Dimensions = Array::Dimensions;

constexpr i64 kFar = i64{1} << 42;  // pixels, whose numbers in an array fit 64 bits

ffi::Error wrong(const std::string& what) {
  return ffi::Error::InvalidArgument("jaxnets native convolution: " + what);
}

// The kernels of an instruction set, "" being the best; null if they are not for here.
const Kernels* kernels_named(std::string_view name) {
  const Kernels& best = best_kernels();
  if (name.empty() || name == best.name) return &best;
#if defined(__x86_64__)
  if (name == kAvx2.name && &best == &kAvx512) return &kAvx2;
#endif
  return name == kGeneric.name ? &kGeneric : nullptr;
}

// The sizes of the three arrays and the options, or why they do not belong together.
ffi::Error read(Dimensions x, Dimensions kernel, Dimensions y, Numbers strides,
                Numbers lo, Numbers dilation, std::int64_t groups, Numbers lengths,
                std::int64_t elementwise, Sizes& s, Transforms& transforms) {
  if (x.size() != 5 || kernel.size() != 5 || y.size() != 5)
    return wrong("arrays must have five axes");
  if (strides.size() != 3 || lo.size() != 3 || dilation.size() != 3)
    return wrong("options must have one number for each of three axes");
  if (groups < 1 || x[4] % groups != 0 || y[4] % groups != 0)
    return wrong("groups must divide the channels");
  s.batch = x[0], s.groups = groups;
  s.fan_in = x[4] / groups, s.fan_out = y[4] / groups;
  if (y[0] != s.batch || kernel[3] != s.fan_in || kernel[4] != y[4])
    return wrong("shapes do not belong together");
  for (int a = 0; a < 3; ++a) {
    s.spatial[a] = x[1 + a], s.window[a] = kernel[a], s.positions[a] = y[1 + a];
    s.strides[a] = strides[a], s.lo[a] = lo[a], s.dilation[a] = dilation[a];
    if (s.strides[a] < 1 || s.dilation[a] < 1)
      return wrong("strides and dilation must be positive");
    if (s.spatial[a] < 1 || s.window[a] < 1 || s.positions[a] < 1)
      return wrong("arrays must not be empty");
    if (s.strides[a] > kFar / s.positions[a] || s.dilation[a] > kFar / s.window[a] ||
        s.lo[a] > kFar || s.lo[a] < -kFar)
      return wrong("windows must not reach farther than 2^42 pixels");
  }
  if (s.batch < 1 || s.fan_in < 1 || s.fan_out < 1)
    return wrong("arrays must not be empty");
  if (lengths.size() != 0 && lengths.size() != 3)
    return wrong("transforms must have a length for each of three axes");
  transforms.elementwise = elementwise != 0;
  for (std::size_t a = 0; a < lengths.size(); ++a) transforms.lengths[a] = lengths[a];
  const char* refused = lengths.size() == 3 ? fft_refuses(s, transforms.lengths) : nullptr;
  if (refused != nullptr) return wrong(std::string("transforms: ") + refused);
  return ffi::Error::Success();
}

constexpr const char* kForked =
    "jaxnets native convolution: this process was forked after the kernels had run, "
    "and a forked process has none of JAX's threads (start processes by "
    "multiprocessing's 'spawn' or 'forkserver')";

// Whether the kernels have run, and whether this process was forked since.
std::atomic<bool> called{false}, forked{false};

template <typename Run>
ffi::Error with_team(ffi::ThreadPool& pool, std::string_view instructions,
                     const Run& run) {
  if (forked) return ffi::Error(ffi::ErrorCode::kFailedPrecondition, kForked);
  called = true;
  const Kernels* kernels = kernels_named(instructions);
  if (kernels == nullptr)
    return wrong("this processor has no kernels for instructions " +
                 std::string(instructions));
  const i64 threads = std::clamp<i64>(pool.num_threads(), 1, 1 << 10);
  Team team(static_cast<int>(threads),
            [&](std::function<void()> work) { pool.Schedule(std::move(work)); });
  try {
    run(*kernels, team);
  } catch (const std::exception&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "jaxnets native convolution: out of memory");
  }
  return ffi::Error::Success();
}

ffi::Error Forward(ffi::ThreadPool pool, Array x, Array kernel, Result y,
                   Numbers strides, Numbers lo, Numbers dilation, std::int64_t groups,
                   Numbers lengths, std::int64_t elementwise, std::string_view isa) {
  Sizes s;
  Transforms transforms;
  auto error = read(x.dimensions(), kernel.dimensions(), y->dimensions(), strides, lo,
                    dilation, groups, lengths, elementwise, s, transforms);
  if (error.failure()) return error;
  want_large_pages(y->typed_data(), y->size_bytes());
  return with_team(pool, isa, [&](const Kernels& kernels, Team& team) {
    forward(s, x.typed_data(), kernel.typed_data(), y->typed_data(), transforms, kernels,
            team);
  });
}

ffi::Error InputGrad(ffi::ThreadPool pool, Array g, Array kernel, Result dx,
                     Numbers strides, Numbers lo, Numbers dilation, std::int64_t groups,
                     Numbers lengths, std::int64_t elementwise, std::string_view isa) {
  Sizes s;
  Transforms transforms;
  auto error = read(dx->dimensions(), kernel.dimensions(), g.dimensions(), strides, lo,
                    dilation, groups, lengths, elementwise, s, transforms);
  if (error.failure()) return error;
  want_large_pages(dx->typed_data(), dx->size_bytes());
  return with_team(pool, isa, [&](const Kernels& kernels, Team& team) {
    input_grad(s, g.typed_data(), kernel.typed_data(), dx->typed_data(), transforms,
               kernels, team);
  });
}

ffi::Error KernelGrad(ffi::ThreadPool pool, Array x, Array g, Result dk,
                      Numbers strides, Numbers lo, Numbers dilation,
                      std::int64_t groups, Numbers lengths, std::int64_t elementwise, std::string_view isa) {
  Sizes s;
  Transforms transforms;
  auto error = read(x.dimensions(), dk->dimensions(), g.dimensions(), strides, lo,
                    dilation, groups, lengths, elementwise, s, transforms);
  if (error.failure()) return error;
  want_large_pages(dk->typed_data(), dk->size_bytes());
  return with_team(pool, isa, [&](const Kernels& kernels, Team& team) {
    kernel_grad(s, x.typed_data(), g.typed_data(), dk->typed_data(), transforms, kernels,
                team);
  });
}

auto Signature() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Array>()
      .Arg<Array>()
      .Ret<ffi::Buffer<ffi::F32>>()
      .Attr<Numbers>("strides")
      .Attr<Numbers>("lo")
      .Attr<Numbers>("dilation")
      .Attr<std::int64_t>("groups")
      .Attr<Numbers>("lengths")
      .Attr<std::int64_t>("elementwise")
      .Attr<std::string_view>("instructions");
}

}  // namespace
}  // namespace jaxnets

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxnets_conv_forward, jaxnets::Forward,
                              jaxnets::Signature());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxnets_conv_input_grad, jaxnets::InputGrad,
                              jaxnets::Signature());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxnets_conv_kernel_grad, jaxnets::KernelGrad,
                              jaxnets::Signature());

extern "C" const char* jaxnets_sources() { return JAXNETS_SOURCES; }

extern "C" const char* jaxnets_instructions() { return jaxnets::best_kernels().name; }

// A forked child calls this first.
extern "C" void jaxnets_after_fork() { jaxnets::forked = jaxnets::called.load(); }

// Why the kernels refuse to run in this process, or null.
extern "C" const char* jaxnets_refusal() {
  return jaxnets::forked ? jaxnets::kForked : nullptr;
}

#pragma GCC visibility pop
