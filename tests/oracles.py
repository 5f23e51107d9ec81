"""What the operations mean: NumPy loops in float64, sharing no code with jaxnets."""

import itertools
import math

import numpy as np

_CONTENT = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def pad_widths(padding, size, taps, stride, dilation):
    """Cells before and behind one axis of `size`, for a name, an int or a pair."""
    span = (taps - 1) * dilation + 1
    if padding == "VALID":
        return 0, 0
    if padding == "FULL":
        return span - 1, span - 1
    if padding == "CAUSAL":
        return span - 1, 0
    if padding in ("SAME", "SAME_LOWER"):
        outputs = math.ceil(size / stride)
        missing = max(0, (outputs - 1) * stride + span - size)
        small, large = missing // 2, missing - missing // 2
        return (small, large) if padding == "SAME" else (large, small)
    return (padding, padding) if isinstance(padding, int) else tuple(padding)


def per_axis(value, rank):
    return (value,) * rank if isinstance(value, (int, str)) else tuple(value)


def conv(
    x,
    kernel,
    bias=None,
    *,
    strides=1,
    padding="SAME",
    dilation=1,
    groups=1,
    padding_mode="zeros",
    data_format="channels_last",
    flip_kernel=False,
):
    """Every output cell as an explicit sum over the taps and channels of its window."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    rank = kernel.ndim - 2
    if data_format == "channels_first":
        x = np.moveaxis(x, -1 - rank, -1)
    batch, spatial = x.shape[: x.ndim - rank - 1], x.shape[x.ndim - rank - 1 : -1]
    window, (fan_in, out) = kernel.shape[:rank], kernel.shape[rank:]
    strides, dilation = per_axis(strides, rank), per_axis(dilation, rank)
    widths = [
        pad_widths(*axis)
        for axis in zip(
            per_axis(padding, rank), spatial, window, strides, dilation, strict=True
        )
    ]
    images = x.reshape(-1, *spatial, x.shape[-1])
    images = np.pad(images, [(0, 0), *widths, (0, 0)], mode=_CONTENT[padding_mode])
    counts = [
        (images.shape[1 + a] - (window[a] - 1) * dilation[a] - 1) // strides[a] + 1
        for a in range(rank)
    ]
    y = np.zeros((len(images), *counts, out))
    for position in itertools.product(*map(range, counts)):
        for tap in itertools.product(*map(range, window)):
            cell = tuple(
                position[a] * strides[a] + tap[a] * dilation[a] for a in range(rank)
            )
            weight = tap
            if flip_kernel:
                weight = tuple(window[a] - 1 - tap[a] for a in range(rank))
            for o in range(out):
                first = o // (out // groups) * fan_in
                channels = images[(slice(None), *cell, slice(first, first + fan_in))]
                y[(slice(None), *position, o)] += channels @ kernel[weight][:, o]
    if bias is not None:
        y = y + np.asarray(bias, np.float64)
    y = y.reshape(*batch, *counts, out)
    return y if data_format == "channels_last" else np.moveaxis(y, -1, -1 - rank)
