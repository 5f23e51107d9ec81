"""Convolutions drawn over all options, for comparison with the oracles."""

import itertools
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from jaxnets.functional.conv_algorithms import ALGORITHMS, ConvFacts, ConvSpec
from tests import oracles

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class ConvCase(NamedTuple):
    """Arrays (float32) and options of one convolution."""

    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray | None
    options: dict[str, Any]


class ConvProblem(NamedTuple):
    """Arrays and spec of one convolution in canonical form, and g for y.

    The arrays are drawn in float64; those of `single()` are float32.
    """

    x: np.ndarray
    kernel: np.ndarray
    g: np.ndarray
    spec: ConvSpec

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.x.shape[1:-1]

    @property
    def window(self) -> tuple[int, ...]:
        return self.kernel.shape[:-2]

    @property
    def facts(self) -> ConvFacts:
        sizes = (len(self.x), self.spatial, self.window)
        ends = (self.x.shape[-1], self.kernel.shape[-1])
        return ConvFacts(*sizes, *ends, self.spec, self.x.dtype.name)

    def able(self) -> list[str]:
        """Names of the algorithms that can run it."""
        return [
            name
            for name, algorithm in ALGORITHMS.items()
            if algorithm.unsupported(self.facts) is None
        ]

    @property
    def terms(self) -> tuple[int, int, int]:
        """Products that one entry of each part sums, at most."""
        taps, pixels = np.prod(self.window), np.prod(self.g.shape[:-1])
        return taps * self.facts.fan_in, taps * self.facts.fan_out, pixels

    def single(self) -> "ConvProblem":
        """The same with its arrays rounded to float32."""
        arrays = (array.astype(np.float32) for array in self[:3])
        return ConvProblem(*arrays, self.spec)

    def written_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The convolution and its two gradients, sum by sum in float64."""
        names = ("strides", "padding", "dilation", "groups")
        options = {name: getattr(self.spec, name) for name in names}
        x, kernel, g = (array.astype(np.float64) for array in self[:3])
        y = oracles.conv(x, kernel, **options)
        return y, *loop_gradients(x, kernel, g, self.spec)


def make_problem(
    rng, batch, spatial, window, fan_in, fan_out, *, groups=1, **options
) -> ConvProblem:
    """A problem with random arrays; one option for all axes, or one an axis."""
    rank = len(window)
    ints = (oracles.per_axis(options.get(n, 1), rank) for n in ("strides", "dilation"))
    strides, dilation = ints
    padding = options.get("padding", 0)
    padding = oracles.per_axis(padding, rank)
    padding = tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    spec = ConvSpec(strides, padding, dilation, groups, None)
    axes = zip(spatial, padding, window, dilation, strides, strict=True)
    positions = [(n + sum(p) - (w - 1) * d - 1) // s + 1 for n, p, w, d, s in axes]
    return ConvProblem(
        rng.normal(size=(batch, *spatial, groups * fan_in)),
        rng.normal(size=(*window, fan_in, groups * fan_out)),
        rng.normal(size=(batch, *positions, groups * fan_out)),
        spec,
    )


def loop_gradients(x, kernel, g, spec) -> tuple[np.ndarray, np.ndarray]:
    """Both gradients of sum(conv(x, kernel) * g), each product put where it belongs."""
    window, (fan_in, out) = kernel.shape[:-2], kernel.shape[-2:]
    each = out // spec.groups
    dx, dk = np.zeros(x.shape), np.zeros(kernel.shape)
    for position in itertools.product(*map(range, g.shape[1:-1])):
        for tap in itertools.product(*map(range, window)):
            axes = zip(position, spec.strides, tap, spec.dilation, strict=True)
            cell = [p * s + t * d for p, s, t, d in axes]
            cell = [i - lo for i, (lo, _) in zip(cell, spec.padding, strict=True)]
            if any(not 0 <= i < n for i, n in zip(cell, x.shape[1:-1], strict=True)):
                continue
            for group in range(spec.groups):
                into = slice(group * fan_in, (group + 1) * fan_in)
                outof = slice(group * each, (group + 1) * each)
                seen = (slice(None), *cell, into)
                made = g[(slice(None), *position, outof)]
                dx[seen] += made @ kernel[tap][:, outof].T
                dk[tap][:, outof] += x[seen].T @ made
    return dx, dk


@st.composite
def conv_problems(draw, rank: int, *, winograd: bool = False) -> ConvProblem:
    """Draw a problem; padding may be wider than the window, strides than both."""
    along = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * rank))  # noqa: E731
    small = 4 if rank < 3 else 2
    if winograd:
        window, strides, dilation = (3,) * rank, (1,) * rank, (1,) * rank
    else:
        window, dilation = along(1, small), along(1, 3 if rank < 3 else 2)
        strides = window if draw(st.booleans()) else along(1, 3)
    widths = st.integers(0, 5 if rank < 3 else 3)
    padding = draw(st.tuples(*[st.tuples(widths, widths)] * rank))
    steps = zip(window, dilation, padding, strict=True)
    least = [max(1, (w - 1) * d + 1 - sum(p)) for w, d, p in steps]
    spatial = tuple(n + draw(st.integers(0, 2 * small)) for n in least)
    sizes = [draw(st.integers(1, 3)) for _ in range(3)]
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    return make_problem(
        rng, sizes[0], spatial, window, *sizes[1:], groups=groups, **options
    )


def _axes(values: st.SearchStrategy, rank: int) -> st.SearchStrategy:
    """One value for all axes, or one an axis."""
    return values | st.tuples(*[values] * rank)


@st.composite
def conv_cases(draw, rank: int, *, like_torch: bool = False) -> ConvCase:
    """Draw a convolution of `rank` spatial axes that is not empty.

    With `like_torch` only what PyTorch has too: channels first, one batch axis, equal
    padding on both sides, SAME at stride 1 alone, padding narrower than the image.
    """
    small = 4 if rank < 3 else 3
    window = draw(st.tuples(*[st.integers(1, small)] * rank))
    strides = draw(_axes(st.integers(1, 3), rank))
    dilation = draw(_axes(st.integers(1, 3 if rank < 3 else 2), rank))
    steps = (dilation,) * rank if isinstance(dilation, int) else dilation
    spans = [(taps - 1) * step + 1 for taps, step in zip(window, steps, strict=True)]
    mode = draw(st.sampled_from(PADDING_MODES))
    widths = st.integers(0, 3)
    if like_torch:
        names = ["VALID"]
        if strides == 1 and mode == "zeros":
            names.append("SAME")
        padding = draw(st.sampled_from(names) | _axes(widths, rank))
    else:
        names = ("VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL", "same", "valid")
        pairs = st.tuples(widths, widths)
        padding = draw(
            st.sampled_from(names)
            | widths
            | st.tuples(*[widths | pairs] * rank)
            | st.tuples(*[pairs] * rank)
        )
    spatial = tuple(span + draw(st.integers(0, small)) for span in spans)
    if like_torch:
        spatial = tuple(size + 3 for size in spatial)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    fan_in, fan_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    channels, out = groups * fan_in, groups * fan_out
    batch = (2,) if like_torch else draw(st.sampled_from([(), (1,), (2,), (2, 1, 2)]))
    named = padding.upper() if isinstance(padding, str) else padding
    axes = (
        oracles.per_axis(named, rank),
        spatial,
        window,
        oracles.per_axis(strides, rank),
        oracles.per_axis(dilation, rank),
    )
    pairs = tuple(oracles.pad_widths(*axis) for axis in zip(*axes, strict=True))
    spec = ConvSpec(axes[3], pairs, axes[4], groups, None)
    facts = ConvFacts(
        int(np.prod(batch)), spatial, window, channels, out, spec, "float32"
    )
    able = [name for name in ALGORITHMS if not ALGORITHMS[name].unsupported(facts)]
    options = {
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": mode,
        "data_format": "channels_first",
        "algorithm": draw(st.sampled_from(["auto", *able])),
    }
    if not like_torch:
        formats = st.sampled_from(["channels_last", "channels_first"])
        options |= {"data_format": draw(formats), "flip_kernel": draw(st.booleans())}
    image = (*spatial, channels)
    if options["data_format"] == "channels_first":
        image = (channels, *spatial)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    normal = lambda shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    bias = normal((out,)) if draw(st.booleans()) else None
    return ConvCase(
        normal((*batch, *image)), normal((*window, fan_in, out)), bias, options
    )
