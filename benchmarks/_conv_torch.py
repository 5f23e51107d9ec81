"""PyTorch as a contestant of `benchmarks.conv_suite`: its convolution and its FFT."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks._conv_cases import Layer
from benchmarks._conv_peers import Arrays, Contestant, threads
from benchmarks._conv_report import milliseconds

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def torch_peer(layer: Layer, part: str, arrays: Arrays) -> Contestant:
    """PyTorch's convolution in the memory format that is faster in one call each."""
    torch.set_num_threads(threads())
    formats = [_direct(layer, part, arrays, last) for last in (False, True)]
    times = []
    for one in formats:
        began = milliseconds(one.run)
        times.append(milliseconds(one.run) if began < 2000 else began)
    return formats[int(np.argmin(times))]


def torch_fft_peer(layer: Layer, part: str, arrays: Arrays) -> Contestant:
    """The convolution theorem as a user of `torch.fft` writes it."""
    from scipy.fft import next_fast_len

    torch.set_num_threads(threads())
    axes = tuple(range(2, 2 + layer.rank))
    full = [s + k - 1 for s, k in zip(layer.spatial, layer.window, strict=True)]
    sizes = [next_fast_len(n, real=True) for n in full]
    begin = [k - 1 - lo for k, (lo, _) in zip(layer.window, layer.pads, strict=True)]
    cut = (..., *(slice(b, b + p) for b, p in zip(begin, layer.positions, strict=True)))

    def apply(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfftn(x, sizes, axes)
        filters = torch.fft.rfftn(kernel.flip(axes), sizes, axes)
        if layer.groups == 1:
            product = torch.einsum("nc...,oc...->no...", spectrum, filters)
        else:
            product = spectrum * filters[:, 0]
        return torch.fft.irfftn(product, sizes, axes)[cut]

    return _contestant(layer, part, arrays, apply, False)


def _direct(layer: Layer, part: str, arrays: Arrays, last: bool) -> Contestant:
    name = "conv_transpose" if layer.transposed else "conv"
    run = getattr(F, f"{name}{layer.rank}d")
    uneven = any(lo != hi for lo, hi in layer.pads)
    options: dict[str, Any] = {
        "stride": layer.stride,
        "padding": 0 if uneven else layer.pads[0][0],
        "groups": layer.groups,
    }

    def apply(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        if uneven:
            x = F.pad(x, [cells for pair in reversed(layer.pads) for cells in pair])
        return run(x, kernel, **options)

    return _contestant(layer, part, arrays, apply, last)


def _contestant(
    layer: Layer,
    part: str,
    arrays: Arrays,
    apply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    last: bool,
) -> Contestant:
    x, kernel, g = (torch.from_numpy(a) for a in arrays)
    kernel = kernel.movedim((-1, -2), (0, 1))
    x, g = x.movedim(-1, 1), g.movedim(-1, 1)
    if not last:
        x, kernel, g = (one.contiguous() for one in (x, kernel, g))
    elif layer.rank in CHANNELS_LAST:
        kernel = kernel.contiguous(memory_format=CHANNELS_LAST[layer.rank])
    else:
        kernel = kernel.contiguous()

    def forward() -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return (apply(x, kernel),)

    def training() -> tuple[torch.Tensor, ...]:
        x.grad = kernel.grad = None
        y = apply(x, kernel)
        y.backward(g)
        assert x.grad is not None and kernel.grad is not None
        return y, x.grad, kernel.grad

    if part == "forward":
        return Contestant(forward, to_numpy=_to_numpy)
    x.requires_grad_()
    kernel.requires_grad_()
    return Contestant(training, to_numpy=_to_numpy)


def _to_numpy(result: tuple[torch.Tensor, ...]) -> tuple[np.ndarray, ...]:
    y, *rest = (one.detach() for one in result)
    moved = [y.movedim(1, -1)]
    if rest:
        moved += [rest[0].movedim(1, -1), rest[1].movedim((0, 1), (-1, -2))]
    return tuple(one.numpy() for one in moved)
