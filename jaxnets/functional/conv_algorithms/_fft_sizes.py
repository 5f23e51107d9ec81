"""Integers only: lengths of transforms, and axes brought to stride 1 and dilation 1.

A stride s splits an axis of x and of the kernel into s phases that become channels:

    Σ_t x[s·p + t] k[t] = Σ_r Σ_t' x_r[p + t'] k_r[t'],   x_r[j] = x[s·j + r]

so that all transforms are s times shorter and nothing is computed to be thrown away.
A dilation d splits x and y into d phases that become images of the batch, since
x[p + d·t] only ever meets y[p] at the same remainder of d. With both, the dilated
kernel is written out with its zeros and then split by the stride.
"""

from functools import cache
from itertools import product
from math import prod
from typing import NamedTuple

from jaxnets.functional.conv_algorithms._spec import ConvSpec

FACTORS = (2, 3, 5, 7)


@cache
def fast_length(size: int) -> int:
    """The smallest length of at least `size` whose prime factors are 2, 3, 5 and 7.

    XLA's transform on CPU (DUCC) took between 2.1 and 2.8 ns a point, there and back,
    for every such length from 60 to 1125 (powers of 2 are no faster: 2.1 at 64, 2.8 at
    128, 2.2 at 120), and 3.2 to 4.7 between 9 000 and 17 000. A factor of 11 or 13
    costs some 10 % more, which is rarely worth the cells saved; primes cost 2.5 to 4
    times as much (5.9 at 61, 9.4 at 127, 9.2 at 1009).
    """
    if size <= FACTORS[-1]:
        return max(size, 1)
    best = 1 << (size - 1).bit_length()
    limits = [range(best.bit_length()) for _ in FACTORS[1:]]
    for powers in product(*limits):
        odd = prod(f**p for f, p in zip(FACTORS[1:], powers, strict=True))
        if odd < best:
            twos = max(0, (-(-size // odd) - 1).bit_length())
            best = min(best, odd << twos)
    return best


class Axis(NamedTuple):
    """One spatial axis, and what it becomes at stride 1 and dilation 1.

    Attributes:
        first: the first tap that meets any cell; the taps before it are dropped.
        kept: how many taps from there on meet a cell.
        spread: cells from one tap to the next in the kernel written out.
        phases: how many phases the cells are dealt to.
        used: how many of the phases meet the window.
        to_channels: whether phases become channels (a stride) or images (a dilation).
        before: cells of padding before the data.
        positions: of the output, all phases together.
        taps: of one phase of the kernel.
        cells: of one phase of the input, with the padding before it.
        margin: how many of these cells are surely padding.
        outputs: positions of one phase.
    """

    first: int
    kept: int
    spread: int
    phases: int
    used: int
    to_channels: bool
    before: int
    positions: int
    taps: int
    cells: int
    margin: int
    outputs: int

    @property
    def images(self) -> int:
        """Phases that become images."""
        return 1 if self.to_channels else self.phases

    @property
    def channels(self) -> int:
        """Phases that become channels."""
        return self.used if self.to_channels else 1

    @property
    def circle(self) -> int:
        """The fast length on which nothing wraps round onto something else.

        On a circle of L cells x, the kernel and y stand at their places; y[p] then
        also meets the cell p + t − L. That is padding before the data as long as
        outputs + taps − 2 − L < margin: the padding on both sides is shared, and
        half of it is never stored for a SAME convolution.
        """
        reach = self.outputs + self.taps - 1 - self.margin
        return fast_length(max(self.cells, reach, self.outputs, self.taps))


def reduce_axes(
    spatial: tuple[int, ...], window: tuple[int, ...], spec: ConvSpec
) -> tuple[Axis, ...] | None:
    """Every axis at stride 1 and dilation 1; None if no tap meets any cell."""
    axes = []
    for size, taps, stride, dilation, (lo, _), positions in zip(
        spatial,
        window,
        spec.strides,
        spec.dilation,
        spec.padding,
        spec.positions(spatial, window),
        strict=True,
    ):
        last_start = (positions - 1) * stride
        first = max(0, (lo - last_start) // dilation)
        kept = min(taps - 1, (size - 1 + lo) // dilation) - first + 1
        lo -= first * dilation
        size = min(size, last_start + (kept - 1) * dilation + 1 - lo)
        if min(kept, size, positions) < 1:
            return None
        stride = 1 if positions == 1 else stride
        dilation = 1 if kept == 1 else dilation
        to_channels = stride > 1
        span = (kept - 1) * dilation + 1
        phases = stride if to_channels else dilation
        used = min(phases, span) if to_channels else phases
        axes.append(
            Axis(
                first=first,
                kept=kept,
                spread=dilation if to_channels else 1,
                phases=phases,
                used=used,
                to_channels=to_channels,
                before=lo,
                positions=positions,
                taps=-(-span // phases) if to_channels else kept,
                cells=-(-(size + lo) // phases),
                margin=lo // phases,
                outputs=positions if to_channels else -(-positions // phases),
            )
        )
    return tuple(axes)
