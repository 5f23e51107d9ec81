"""Transposed convolutions drawn over all options, and what they mean, in loops."""

import itertools
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from tests.oracles import per_axis


class TransposeCase(NamedTuple):
    """Arrays (float32) and options of one transposed convolution."""

    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray | None
    options: dict[str, Any]


def sizes_and_cuts(spatial, window, strides, padding, output_padding, dilation):
    """Output size and first cell kept of the line that x is spread to, an axis."""
    for a, n in enumerate(spatial):
        s, span = strides[a], (window[a] - 1) * dilation[a] + 1
        line = (n - 1) * s + span
        if padding in ("SAME", "SAME_LOWER"):
            extra = max(span - s, 0)
            yield n * s, extra // 2 if padding == "SAME" else extra - extra // 2
        else:
            lo, hi = {"VALID": (0, 0), "FULL": (span - 1,) * 2}.get(
                padding if isinstance(padding, str) else "", (0, 0)
            )
            if not isinstance(padding, str):
                pad = padding if isinstance(padding, int) else padding[a]
                lo, hi = (pad, pad) if isinstance(pad, int) else pad
            yield line - lo - hi + output_padding[a], lo


def loop_transpose(
    x,
    kernel,
    bias=None,
    *,
    strides=1,
    padding="SAME",
    output_padding=0,
    dilation=1,
    groups=1,
    data_format="channels_last",
    flip_kernel=False,
):
    """Every cell of x added to every cell it reaches, tap by tap, in float64."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    rank = kernel.ndim - 2
    if data_format == "channels_first":
        x = np.moveaxis(x, -1 - rank, -1)
    if flip_kernel:
        kernel = kernel[tuple([slice(None, None, -1)] * rank)]
    strides, dilation, more = (
        per_axis(v, rank) for v in (strides, dilation, output_padding)
    )
    batch, spatial = x.shape[: -rank - 1], x.shape[-rank - 1 : -1]
    window, (fan_out, channels) = kernel.shape[:rank], kernel.shape[rank:]
    placed = list(sizes_and_cuts(spatial, window, strides, padding, more, dilation))
    sizes = [size for size, _ in placed]
    y = np.zeros((*batch, *sizes, fan_out * groups))
    share = channels // groups
    for p in itertools.product(*map(range, spatial)):
        for t in itertools.product(*map(range, window)):
            cell = [
                p[a] * strides[a] + t[a] * dilation[a] - placed[a][1]
                for a in range(rank)
            ]
            if not all(0 <= c < n for c, n in zip(cell, sizes, strict=True)):
                continue
            for g in range(groups):
                into = slice(g * fan_out, (g + 1) * fan_out)
                of = slice(g * share, (g + 1) * share)
                y[(..., *cell, into)] += x[(..., *p, of)] @ kernel[t][:, of].T
    if bias is not None:
        y = y + np.asarray(bias, np.float64)
    return y if data_format == "channels_last" else np.moveaxis(y, -1, -1 - rank)


@st.composite
def transpose_cases(draw, rank: int, *, like_torch: bool = False) -> TransposeCase:
    """Draw a transposed convolution of `rank` spatial axes whose output has cells.

    With `like_torch` only what PyTorch has too: channels first, one batch axis, equal
    padding on both sides.
    """

    def axes(values):
        return draw(values | st.tuples(*[values] * rank))

    window = draw(st.tuples(*[st.integers(1, 4 if rank < 3 else 2)] * rank))
    strides, dilation = axes(st.integers(1, 3)), axes(st.integers(1, 3))
    s, d = per_axis(strides, rank), per_axis(dilation, rank)
    widths = st.integers(0, 2)
    if like_torch:
        padding = draw(widths | st.tuples(*[widths] * rank))
    else:
        pairs = st.tuples(widths, widths)
        names = st.sampled_from(["VALID", "SAME", "SAME_LOWER", "FULL"])
        padding = draw(names | widths | st.tuples(*[pairs] * rank))
    output_padding = 0
    if not isinstance(padding, str) or padding == "VALID":
        most = [max(pair) - 1 for pair in zip(s, d, strict=True)]
        output_padding = tuple(draw(st.integers(0, m)) for m in most)
    spatial = draw(st.tuples(*[st.integers(1, 4)] * rank))
    more = per_axis(output_padding, rank)
    placed = sizes_and_cuts(spatial, window, s, padding, more, d)
    # Grow x until every axis of the output has a cell.
    spatial = tuple(
        n if size > 0 else n - size + 1
        for n, (size, _) in zip(spatial, placed, strict=True)
    )
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, fan_out = groups * draw(st.integers(1, 2)), draw(st.integers(1, 2))
    data_format = "channels_first"
    options = {
        "strides": strides,
        "padding": padding,
        "output_padding": output_padding,
        "dilation": dilation,
        "groups": groups,
    }
    batch = (2,)
    if not like_torch:
        data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
        options["flip_kernel"] = draw(st.booleans())
        batch = draw(st.sampled_from([(), (2,), (2, 1, 2)]))
    options["data_format"] = data_format
    image = (*spatial, channels)
    if data_format == "channels_first":
        image = (channels, *spatial)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(*batch, *image)).astype(np.float32)
    kernel = rng.normal(size=(*window, fan_out, channels)).astype(np.float32)
    bias = None
    if draw(st.booleans()):
        bias = rng.normal(size=(fan_out * groups,)).astype(np.float32)
    return TransposeCase(x, kernel, bias, options)
