"""The three parts of a convolution by transforms.

With X, K and Y the spectra of x, the kernel and y, at stride 1 and dilation 1,

    Y_no = Σ_i X_ni conj(K_io),   X_ni = Σ_o Y_no K_io,   K_io = Σ_n X_ni conj(Y_no)

`fft` and `overlap_add` differ in the plan only, which says how the axes are cut.
"""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms._fft_layout import (
    join_output,
    split_input,
    split_kernel,
    transpose,
)
from jaxnets.functional.conv_algorithms._fft_spectra import (
    FORWARD,
    INPUT_GRAD,
    KERNEL_GRAD,
    contract,
    signal,
    spectrum,
)
from jaxnets.functional.conv_algorithms._fft_tiles import (
    Plan,
    by_images,
    count_steps,
    kept,
    pad,
    sum_up,
    take,
    tiled,
)
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec


def forward_facts(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> ConvFacts:
    """The facts of a convolution, from the arrays of `forward`."""
    return _facts(x, x.shape[1:-1], kernel.shape[:-2], x.shape[-1], kernel, spec)


def input_grad_facts(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> ConvFacts:
    """The facts of a convolution, from the arrays of `input_grad`."""
    channels = kernel.shape[-2] * spec.groups
    return _facts(g, spatial, kernel.shape[:-2], channels, kernel, spec)


def kernel_grad_facts(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> ConvFacts:
    """The facts of a convolution, from the arrays of `kernel_grad`."""
    return _facts(x, x.shape[1:-1], window, x.shape[-1], g, spec)


def forward(
    x: jax.Array, kernel: jax.Array, facts: ConvFacts, plan: Plan | None
) -> jax.Array:
    """The output from the spectra of x and the kernel; zero if there is no plan."""
    if plan is None:
        return jnp.zeros((len(x), *facts.positions, facts.out), x.dtype)
    axes, groups, wide = plan.axes, facts.spec.groups, wide_dtype(x.dtype)
    k = split_kernel(kernel.astype(wide), axes, groups)
    k = jnp.conj(spectrum(k, plan.lengths))

    def tile(cells: jax.Array) -> jax.Array:
        y = contract(spectrum(cells, plan.lengths), k, FORWARD)
        return signal(y, plan.lengths, [0] * len(axes), kept(plan, plan.outputs))

    def some(x: jax.Array) -> jax.Array:
        cells = split_input(x.astype(wide), axes, groups, plan.cells)
        y = tiled(tile, cells, plan, plan.outputs, ahead=False)
        return join_output(y, axes, len(x)).astype(x.dtype)

    return by_images(some, x, plan.images)


def input_grad(
    g: jax.Array, kernel: jax.Array, facts: ConvFacts, plan: Plan | None
) -> jax.Array:
    """The input gradient from the spectra of g and the kernel."""
    if plan is None:
        return jnp.zeros((len(g), *facts.spatial, facts.channels), g.dtype)
    axes, groups, wide = plan.axes, facts.spec.groups, wide_dtype(g.dtype)
    k = spectrum(split_kernel(kernel.astype(wide), axes, groups), plan.lengths)
    starts = [
        t - 1 if c.step else 0 for t, c in zip(plan.taps, plan.tiles, strict=True)
    ]

    def tile(outputs: jax.Array) -> jax.Array:
        dx = contract(spectrum(outputs, plan.lengths), k, INPUT_GRAD)
        return signal(dx, plan.lengths, starts, kept(plan, plan.cells))

    def some(g: jax.Array) -> jax.Array:
        outputs = _split_output(g.astype(wide), groups, plan)
        dx = tiled(tile, outputs, plan, plan.cells, ahead=True)
        shape = (len(g), *facts.spatial, facts.channels)
        split = partial(split_input, axes=axes, groups=groups, extents=plan.cells)
        return transpose(split, shape, dx).astype(g.dtype)

    return by_images(some, g, plan.images)


def kernel_grad(
    x: jax.Array, g: jax.Array, facts: ConvFacts, plan: Plan | None
) -> jax.Array:
    """The kernel gradient from the spectra of x and g, summed before the way back."""
    shape = (*facts.window, facts.fan_in, facts.out)
    if plan is None:
        return jnp.zeros(shape, x.dtype)
    axes, groups, wide = plan.axes, facts.spec.groups, wide_dtype(x.dtype)
    steps = count_steps(plan, plan.outputs)

    def some(x: jax.Array, g: jax.Array) -> jax.Array:
        cells = split_input(x.astype(wide), axes, groups, plan.cells)
        cells = pad(cells, plan, steps, ahead=False, overlap=True)
        outputs = _split_output(g.astype(wide), groups, plan)
        outputs = pad(outputs, plan, steps, ahead=False, overlap=False)

        def tile(index: jax.Array | int) -> jax.Array:
            a = take(cells, plan, steps, index, overlap=True)
            b = take(outputs, plan, steps, index, overlap=False)
            a, b = spectrum(a, plan.lengths), jnp.conj(spectrum(b, plan.lengths))
            return contract(a, b, KERNEL_GRAD)

        return sum_up(tile, prod(steps))

    count, rest = divmod(len(x), plan.images)

    def chunk(index: jax.Array | int) -> jax.Array:
        first = index * plan.images
        return some(
            lax.dynamic_slice_in_dim(x, first, plan.images),
            lax.dynamic_slice_in_dim(g, first, plan.images),
        )

    total = some(x, g) if count == 1 and not rest else sum_up(chunk, count)
    if rest:
        total = total + some(x[-rest:], g[-rest:])
    dk = signal(total, plan.lengths, [0] * len(axes), list(plan.taps))
    split = partial(split_kernel, axes=axes, groups=groups)
    return transpose(split, shape, dk).astype(x.dtype)


def _facts(
    a: jax.Array,
    spatial: tuple[int, ...],
    window: tuple[int, ...],
    channels: int,
    b: jax.Array,
    spec: ConvSpec,
) -> ConvFacts:
    """Facts from the first array, which has the batch, and the second, with `out`."""
    dtype = a.dtype.name
    return ConvFacts(len(a), spatial, window, channels, b.shape[-1], spec, dtype)


def _split_output(g: jax.Array, groups: int, plan: Plan) -> jax.Array:
    """The output's gradient as `(images, groups, out // groups, *outputs)`."""
    images = len(g) * prod(axis.images for axis in plan.axes)
    shape = (images, groups, g.shape[-1] // groups, *plan.outputs)
    return transpose(lambda y: join_output(y, plan.axes, len(g)), shape, g)
