"""What the sums of the compiled kernels take: which way they go, and its products.

The kernels in `jaxnets/native/src` decide by counting products of vectors, and so does
this, for the widest vectors.
"""

import os
from math import gcd, prod

import jax.numpy as jnp

from jaxnets.functional.conv_algorithms._native_transforms import LANES
from jaxnets.functional.conv_algorithms._spec import ConvFacts, Work

# As in `mirror.cc` and `cells.h`.
FEW_RESULTS = 128
MANY_PRODUCTS = 128
OWN_VECTORS = 20

# As in `geometry.h` and `problem.h`.
LEAST_ROW = 24
BOX_FLOATS = 1 << 16
THREADS = os.cpu_count() or 1

# As in `fold_choice.cc`.
MOST_BEYOND = 4
MOST_REACH = 1 << 20


def work_of_sums(part: str, facts: ConvFacts) -> Work:
    """Lanes of vectors that nothing fills count as work, as do spread channels.

    Of what is folded, transposing and adding count as well.
    """
    groups, size = facts.spec.groups, jnp.dtype(facts.dtype).itemsize
    cells = facts.batch * prod(facts.spatial)
    pixels = facts.batch * prod(facts.positions)
    arrays = cells * facts.channels + pixels * facts.out
    folded = _folded(part, facts)
    if folded is not None:
        moved = size * (arrays + facts.kernel_cells)
        return Work(2 * LANES * folded, moved, 1)
    terms, results = facts.fan_in, facts.fan_out
    if part == "input_grad":
        terms, results, cells = results, terms, pixels
    elif (
        part == "kernel_grad"
        and LANES <= terms
        and (_vectors(terms) * results < _vectors(results) * terms)
    ):
        terms, results = results, terms
    kind, spread, lanes = "dense", 0.0, LANES
    if _share_vectors(part, facts, terms, results):
        kind = "depthwise" if facts.fan_in == facts.fan_out == 1 else "grouped"
        in_line = part != "kernel_grad" and facts.spec.strides[-1] == 1
        if kind == "depthwise" and in_line:
            lanes = 1  # vectors span the results of a row
        spread = cells * terms * -(-groups * results // lanes) * lanes
        if terms > results:  # inputs of more than one vector, taken one at a time
            spread *= LANES
        results *= groups
    filled = -(-results // lanes) * lanes / max(1, results)
    calls = prod(facts.spec.strides) if part == "input_grad" else 1
    moved = size * (arrays + 2 * facts.kernel_cells + spread / 8)
    return Work(2 * facts.products * filled, moved, calls, kind)


def scratch_of_sums(part: str, facts: ConvFacts) -> float:
    """Bytes of the kernel in another order, and of the pixels that each thread copies.

    A thread copies some 2^16 numbers, or as many as a row of `LEAST_ROW` results meets.
    """
    inner = facts.fan_out if part == "input_grad" else facts.fan_in
    met = 1
    for axis, (taps, s, d) in enumerate(
        zip(facts.window, facts.spec.strides, facts.spec.dilation, strict=True)
    ):
        results = LEAST_ROW if axis + 1 == len(facts.window) else 1
        if part == "input_grad":
            taps, d, s = -(-taps * gcd(s, d) // s), d // gcd(s, d), 1
        reach = (results - 1) * s + d * (taps - 1) + 1
        met *= min(reach, 2 * results * taps)
    lanes = LANES if facts.spec.groups > 1 and facts.fan_out < LANES else 1
    copied = max(BOX_FLOATS, met * inner * lanes)
    own = LANES if facts.spec.groups > 1 else 1
    return 4.0 * (2 * own * facts.kernel_cells + THREADS * copied)


def _vectors(channels: int) -> int:
    return -(-channels // LANES)


def _share_vectors(part: str, facts: ConvFacts, terms: int, results: int) -> bool:
    """Whether groups do: `suits_lanes` in `cells.h`."""
    groups = facts.spec.groups
    if groups == 1 or results >= LANES:
        return False
    if terms == 1:
        return True
    strides, taps, cells = prod(facts.spec.strides), prod(facts.window), 1.0
    pairs = zip(facts.spec.strides, facts.window, strict=True)
    met = prod(min(s, 2 * n) for s, n in pairs)
    if part == "input_grad":
        taps /= strides
    else:
        cells = met
    together = min(groups, -(-LANES // results))
    spread = 2 * LANES if together * terms > LANES else 8
    product = 3 if taps * terms > MANY_PRODUCTS else 1.5
    shared = terms * (product * taps + cells * spread)
    return shared < together * (terms * taps + OWN_VECTORS)


def _folded(part: str, facts: ConvFacts) -> float | None:
    """Products of vectors that folding takes; None if it is not done."""
    if part == "input_grad":
        return _folded_input_grad(facts)
    if part == "forward":
        turned = _mirrored(_simplest(facts))
        return None if turned is None else _folded_input_grad(turned)
    return None


def _folded_input_grad(facts: ConvFacts) -> float | None:
    """What `suits_fold` in `fold_choice.cc` compares."""
    facts = _simplest(facts)
    groups, fan_in, fan_out = facts.spec.groups, facts.fan_in, facts.fan_out
    step = facts.spec.strides[-1] if facts.positions[-1] > 1 else 1
    reach = facts.spec.dilation[-1] * (facts.window[-1] - 1) + step
    if reach > MOST_BEYOND * facts.spatial[-1] or reach > MOST_REACH // facts.channels:
        return None
    cells, taps = facts.batch * prod(facts.spatial), prod(facts.window)
    strides = prod(facts.spec.strides)
    products = taps / strides * fan_out
    correlation = groups * _vectors(fan_in) * products
    if groups > 1 and fan_in < LANES:
        phases = prod(map(min, facts.spec.strides, facts.window))
        inputs = min(groups, -(-LANES // fan_in)) * fan_out
        spread = phases / strides * (2 * LANES if inputs > LANES else 8)
        shared = _vectors(facts.channels) * (2 * products + spread * fan_out)
        correlation = min(correlation + groups * OWN_VECTORS, shared)
    *outer, across = facts.positions
    rows, columns = facts.batch * prod(outer), taps * fan_in
    transposed = columns * fan_out / LANES + _vectors(fan_out) * LANES
    across_lanes = columns * (_vectors(fan_out) + 16)
    multiplied = rows * across * groups * min(transposed, across_lanes)
    added = rows * groups * (100 + 12 * -(-across // LANES) * columns)
    afar = 1 if fan_in < 2 * LANES else 1.5
    folded = float(afar * multiplied + added + 2 * cells * facts.channels)
    return folded if folded < correlation * cells else None


def _mirrored(facts: ConvFacts) -> ConvFacts | None:
    """The convolution that goes the other way: `suits_mirror` in `mirror.cc`."""
    spec, positions = facts.spec, facts.positions
    if max(spec.strides) > 1 or facts.batch * prod(positions) < FEW_RESULTS:
        return None
    reach = [d * (n - 1) for d, n in zip(spec.dilation, facts.window, strict=True)]
    pads = tuple(
        (more - lo, more - hi)
        for more, (lo, hi) in zip(reach, spec.padding, strict=True)
    )
    if min(map(min, pads)) < 0:
        return None
    return facts._replace(
        spatial=positions,
        channels=facts.out,
        out=facts.channels,
        spec=spec._replace(padding=pads),
    )


def _simplest(facts: ConvFacts) -> ConvFacts:
    """Where the one window is the whole image, all its cells are channels of one."""
    spec, ones = facts.spec, (1,) * len(facts.window)
    whole = (
        spec.groups == 1
        and facts.window == facts.spatial
        and facts.positions == ones
        and not any(lo for lo, _ in spec.padding)
        and all(
            d == 1 or n == 1 for d, n in zip(spec.dilation, facts.window, strict=True)
        )
    )
    if not whole:
        return facts
    alone = spec._replace(strides=ones, padding=((0, 0),) * len(ones), dilation=ones)
    cells = facts.channels * prod(facts.window)
    return facts._replace(spatial=ones, window=ones, channels=cells, spec=alone)
