"""Direct convolution by `lax.conv_general_dilated`, whatever the platform makes of it.

Cost: 2 · batch · positions · window · in · out / groups flops, each way.
Memory: no more than the arrays, up to what the platform's library takes for itself.
Accuracy: sums of products in float32 or wider; nothing is transformed.
Does not support: nothing; every spec is honoured.
Choose it: on accelerators, and wherever nothing faster was measured.
"""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._shapes import dilated_size
from jaxnets.functional.conv_algorithms._phases import turn_over
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec, Work


def forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> jax.Array:
    """y[n, p, o] = Σ_{t,c} x[n, s·p + d·t − lo, c] kernel[t, c, o]."""
    y = lax.conv_general_dilated(
        x,
        kernel,
        window_strides=spec.strides,
        padding=spec.padding,
        rhs_dilation=spec.dilation,
        dimension_numbers=_channels_last(x.ndim),
        feature_group_count=spec.groups,
        precision=spec.precision,
        preferred_element_type=wide_dtype(x.dtype),
    )
    return y.astype(x.dtype)


def input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """dx[n, i, c] = Σ_{p,t: s·p + d·t − lo = i} Σ_o g[n, p, o] kernel[t, c, o].

    The full convolution of g, spread to every stride-th cell, with the flipped kernel.
    """
    window = kernel.shape[:-2]
    rank = len(window)
    swapped = turn_over(kernel, spec.groups)
    spread = tuple(
        dilated_size(positions, stride)
        for positions, stride in zip(g.shape[1:-1], spec.strides, strict=True)
    )
    reach = tuple(
        dilated_size(taps, dilation) - 1
        for taps, dilation in zip(window, spec.dilation, strict=True)
    )
    before = tuple(r - lo for r, (lo, _) in zip(reach, spec.padding, strict=True))
    padding = tuple(
        (lo, size + r - cells - lo)
        for size, r, cells, lo in zip(spatial, reach, spread, before, strict=True)
    )
    dx = lax.conv_general_dilated(
        g,
        swapped,
        window_strides=(1,) * rank,
        padding=padding,
        lhs_dilation=spec.strides,
        rhs_dilation=spec.dilation,
        dimension_numbers=_channels_last(g.ndim),
        feature_group_count=spec.groups,
        precision=spec.precision,
        preferred_element_type=wide_dtype(g.dtype),
    )
    return dx.astype(g.dtype)


def kernel_grad(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """dk[t, c, o] = Σ_{n,p} x[n, s·p + d·t − lo, c] g[n, p, o].

    The valid correlation of x with g, in which the batch is what is summed over.
    """
    rank = len(window)
    padding = tuple(
        (lo, dilation * (taps - 1) + dilated_size(positions, stride) - size - lo)
        for (lo, _), taps, dilation, positions, stride, size in zip(
            spec.padding,
            window,
            spec.dilation,
            g.shape[1:-1],
            spec.strides,
            x.shape[1:-1],
            strict=True,
        )
    )
    convolve = partial(
        lax.conv_general_dilated,
        window_strides=spec.dilation,
        padding=padding,
        rhs_dilation=spec.strides,
        precision=spec.precision,
        preferred_element_type=wide_dtype(x.dtype),
    )
    last = x.ndim - 1
    spatial = tuple(range(1, last))

    def by_layout(x: jax.Array, g: jax.Array) -> jax.Array:
        layout = lax.ConvDimensionNumbers(
            lhs_spec=(last, 0, *spatial),
            rhs_spec=(last, 0, *spatial),
            out_spec=(rank, rank + 1, *range(rank)),
        )
        return convolve(x, g, dimension_numbers=layout, batch_group_count=spec.groups)

    def by_transposition(x: jax.Array, g: jax.Array) -> jax.Array:
        # One image a channel of a group; its channels are the images of every group.
        each = x.shape[-1] // spec.groups
        split = x.reshape(*x.shape[:-1], spec.groups, each)
        turned = lax.transpose(split, (last + 1, *spatial, last, 0))
        turned = turned.reshape(*turned.shape[:-2], spec.groups * len(x))
        swapped = lax.transpose(g, (*spatial, 0, last))
        dk = convolve(
            turned,
            swapped,
            dimension_numbers=_channels_last(x.ndim),
            feature_group_count=spec.groups,
        )
        return jnp.moveaxis(dk, 0, rank)

    # XLA on CPU transposes by itself, but not within a loop, where the convolution is
    # then 20 to 40 times slower. With `batch_group_count` it also multiplies groups by
    # each other's zeros, so that a NaN would spread to all of them.
    dk = lax.platform_dependent(x, g, cpu=by_transposition, default=by_layout)
    return dk.astype(x.dtype)


def unsupported(facts: ConvFacts) -> str | None:
    """Nothing."""
    return None


def work(part: str, facts: ConvFacts) -> Work:
    """One call; a gradient multiplies the zeros that a stride leaves, too."""
    size = jnp.dtype(facts.dtype).itemsize
    cells = facts.batch * prod(facts.spatial) * facts.channels
    results = facts.batch * prod(facts.positions) * facts.out
    products = float(facts.products)
    if part == "input_grad":
        products = facts.every_cell_products * prod(facts.spec.strides)
    kind = "volume" if len(facts.window) > 2 else "dense"
    kind = "grouped" if facts.spec.groups > 1 else kind
    arrays = cells + results + facts.kernel_cells
    return Work(2 * products, size * arrays, 1, kind)


def scratch(part: str, facts: ConvFacts) -> float:
    """None that is known of."""
    return 0.0


def _channels_last(ndim: int) -> lax.ConvDimensionNumbers:
    """Where batch, channels and space stand in arrays of `ndim` axes."""
    last, first = ndim - 1, ndim - 2
    image = (0, last, *range(1, last))
    kernel = (last, first, *range(first))
    return lax.ConvDimensionNumbers(lhs_spec=image, rhs_spec=kernel, out_spec=image)
