"""Convolutions drawn over all options, for comparison with the oracles."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from jaxnets.functional.conv_algorithms import ALGORITHMS

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class ConvCase(NamedTuple):
    """Arrays (float32) and options of one convolution."""

    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray | None
    options: dict[str, Any]


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
    options = {
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": mode,
        "data_format": "channels_first",
        "algorithm": draw(st.sampled_from(["auto", *ALGORITHMS])),
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
