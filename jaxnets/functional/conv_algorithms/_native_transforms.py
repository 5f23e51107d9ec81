"""Which convolutions the compiled kernels do by transforms, in which tiles.

The kernels transform `LANES` channels side by side and two tiles as the real and the
imaginary part of one: 5 N log2 N flops a channel, 100 GFLOP/s a core with AVX-512 for
64 to 32 768 points (64 at 27, 70 at 2187: a factor of 3 counts one and a half times).
Between the transforms of inputs and outputs, groups of several channels have a product
of two complex numbers, 8 flops, for every point, input and output. A tile of N points
gives N − taps + 1 results an axis, or all of them where nothing wraps round onto
anything but padding; its lengths are those of the least cost.
"""

from functools import cache
from itertools import product
from math import log2, prod
from typing import NamedTuple

from jaxnets.functional.conv_algorithms._spec import ConvFacts, is_exact

LANES = 16
MOST_POINTS = 1 << 16
"""8 MB of vectors: more would be the business of memory."""

MOST_SPECTRA = 1 << 24
"""Complex numbers of the spectrum of a kernel of several channels: 128 MB."""

HANDLED = 30.0
"""Flops that a point of a tile costs to be laid into a vector, or taken out."""

PRODUCT = 8.0
"""Flops of a product of spectra at a point."""

LAID = 150.0
"""Flops that a point of such a kernel costs to be laid out, or its gradient taken."""

FAR = 1 << 21
FETCHED = 8.0
"""Flops that a point of a kernel of more than so many complex numbers costs each time
that it meets `ROWS` pairs of tiles."""

ROWS = 4
SIDE_BY_SIDE = 4
"""Pairs of tiles, and inputs in a slot, as in `fft_dense.h`."""

LEAST_SUMS = 1e6
LEAST_DENSE_SUMS = 3e7
"""Flops of sums that are over before transforms are set up."""

WORTH = {"forward": 1.5, "input_grad": 1.5, "kernel_grad": 1.8}
"""How many flops sums over several channels do in the time of one of a transform."""


LEAST_TERMS = {
    ("forward", True): 64,
    ("input_grad", True): 64,
    ("kernel_grad", True): 2048,
    ("forward", False): 128,
    ("input_grad", False): 128,
    ("kernel_grad", False): 2048,
}
"""Terms of a result, by part and whether depthwise, from which on the kernels keep most
results of transforms under elementwise accuracy. The fewer terms, the smaller the error
that a result may have."""


class Tiles(NamedTuple):
    """How a part is cut.

    Attributes:
        lengths: of the transform, an axis each.
        flops: of all of it, in those of transforms.
        spectra: complex numbers of the kernel's spectrum.
    """

    lengths: tuple[int, ...]
    flops: float
    spectra: float


def tiles(part: str, facts: ConvFacts, sums: float) -> Tiles | None:
    """The tiles of a part, or None if it is better done by sums of so many flops."""
    spec, depthwise = facts.spec, facts.fan_in == facts.fan_out == 1
    least, worth = (LEAST_SUMS, 1) if depthwise else (LEAST_DENSE_SUMS, WORTH[part])
    if set(spec.strides) != {1} or is_exact(spec.precision) or sums < least:
        return None
    if not spec.relaxed and _terms(part, facts) < LEAST_TERMS[part, depthwise]:
        return None
    any_spec = spec._replace(precision=None, relaxed=True)
    found = _cheapest(part, facts._replace(spec=any_spec))
    return found if found is not None and found.flops * worth < sums else None


def _terms(part: str, facts: ConvFacts) -> int:
    """Products that a result is the sum of."""
    if part == "kernel_grad":
        return facts.batch * prod(facts.positions)
    fan = facts.fan_in if part == "forward" else facts.fan_out
    return prod(facts.window) * fan


@cache
def _cheapest(part: str, facts: ConvFacts) -> Tiles | None:
    axes = []
    for size, results, taps, (lo, _), dilation in zip(
        facts.spatial,
        facts.positions,
        facts.window,
        facts.spec.padding,
        facts.spec.dilation,
        strict=True,
    ):
        if part == "input_grad":
            size, results, lo = results, size, (taps - 1) * dilation - lo
        axes.append(_Axis(size, results, taps, lo, dilation))
    lanes = _lanes(part, facts)

    def flops(lengths: tuple[int, ...]) -> float:
        count = facts.batch
        for axis, length in zip(axes, lengths, strict=True):
            count *= axis.tiles(length)
        bundles = -(-count // (2 * lanes.side_by_side))
        points, once = LANES * prod(lengths), 5 * sum(map(steps, lengths))
        each = lanes.vectors * once + lanes.laid * HANDLED
        each += lanes.kernel * lanes.rows * PRODUCT
        kernel = lanes.spectra * once + lanes.kernel * LAID
        if lanes.kernel * points > FAR:
            kernel += lanes.kernel * FETCHED * -(-bundles * lanes.rows // ROWS)
        return points * (bundles * each + kernel)

    choices = product(*(axis.candidates() for axis in axes))
    most = min(MOST_POINTS, MOST_SPECTRA // (LANES * max(lanes.kernel, 1)))
    fitting = [lengths for lengths in choices if prod(lengths) <= most]
    if not fitting:
        return None
    best = min(fitting, key=flops)
    return Tiles(best, flops(best), float(LANES * lanes.spectra * prod(best)))


class _Lanes(NamedTuple):
    """How the channels of all groups lie in vectors, as in `fft_dense.h`.

    Attributes:
        side_by_side: pairs of tiles that a vector of inputs holds, a bundle.
        rows: of a bundle, which each meet the spectrum of the kernel.
        vectors: of a bundle that are transformed, there or back.
        laid: those that are laid out or taken out, one for each tile in it.
        spectra: vectors of the spectrum of the kernel.
        kernel: those of several channels, which are multiplied and summed.
    """

    side_by_side: int
    rows: int
    vectors: int
    laid: int
    spectra: int
    kernel: int


def _lanes(part: str, facts: ConvFacts) -> _Lanes:
    groups, fan_in, fan_out = facts.spec.groups, facts.fan_in, facts.fan_out
    if fan_in == fan_out == 1:
        vectors = -(-groups // LANES)
        return _Lanes(max(1, LANES // groups), 1, 2 * vectors, 2 * vectors, vectors, 0)
    if part == "input_grad":
        fan_in, fan_out = fan_out, fan_in
    together = 2 * fan_out <= LANES
    if together:
        slot = max(fan_out, min(fan_in, SIDE_BY_SIDE))
    else:
        slot = max(fan_in, LANES // ROWS)
    slots = max(1, LANES // slot)
    rows = 1 if together else slots
    inputs = -(-fan_in // (slot if together else LANES))
    outputs = -(-fan_out // LANES)
    kernel = groups * fan_in * outputs
    return _Lanes(
        side_by_side=slots,
        rows=rows,
        vectors=groups * (inputs + rows * outputs),
        laid=groups * slots * (inputs + outputs),
        spectra=kernel,
        kernel=kernel,
    )


class _Axis(NamedTuple):
    size: int
    results: int
    taps: int
    lo: int
    dilation: int

    @property
    def positions(self) -> int:
        """Results of one phase of the dilation."""
        return -(-self.results // self.dilation)

    @property
    def circle(self) -> int:
        """Points on which what wraps round meets padding alone; as in fft_tiles.h."""
        reach = self.positions + self.taps - 1
        before = max(self.lo, 0) // self.dilation
        cells = max(-(-(self.size + self.lo) // self.dilation), 1)
        return max(reach - before, min(cells, reach), self.positions, self.taps)

    def tiles(self, length: int) -> int:
        phases = min(self.dilation, self.results)
        if length >= self.circle:
            return phases
        return phases * -(-self.positions // (length - self.taps + 1))

    def candidates(self) -> list[int]:
        """The whole axis, and shorter tiles of which a sixth at least are results."""
        whole = smooth(self.circle)
        least = self.taps + self.taps // 5
        return [n for n in smooth_numbers(least, whole - 1) if n >= 4] + [whole]


def steps(length: int) -> float:
    """The binary logarithm of a length, factors of 3 at what they cost."""
    twos = (length & -length).bit_length() - 1
    return twos + 1.5 * log2(length >> twos)


def smooth(size: int) -> int:
    """The least number of at least `size` with no prime factors but 2 and 3."""
    return smooth_numbers(size, 2 * size)[0]


def smooth_numbers(least: int, most: int) -> list[int]:
    """All numbers from `least` to `most` with no prime factors but 2 and 3."""
    found = []
    three = 1
    while three <= most:
        number = three
        while number <= most:
            if number >= least:
                found.append(number)
            number *= 2
        three *= 3
    return sorted(found)
