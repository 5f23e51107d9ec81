"""Separable, local and tiled convolution against loops, and their limits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets.functional import conv
from jaxnets.functional._conv_local import local_conv, tiled_conv
from jaxnets.functional._conv_separable import (
    separable_conv,
    spatially_separable_conv,
)
from jaxnets.functional._flip_kernel import flip_kernel
from tests import oracles
from tests.helpers import assert_close
from tests.oracles import pad_widths, per_axis


def loop_tiled(
    x, kernel, bias=None, *, strides=1, padding="SAME", dilation=1, groups=1
):
    """Position by position, the kernel of p mod tiles, in float64."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    rank = kernel.ndim // 2 - 1
    tiles, window = kernel.shape[:rank], kernel.shape[rank : 2 * rank]
    fan_in, out = kernel.shape[-2:]
    strides, dilation = per_axis(strides, rank), per_axis(dilation, rank)
    first = x.ndim - rank - 1
    widths = [
        pad_widths(*axis)
        for axis in zip(
            per_axis(padding, rank),
            x.shape[first:-1],
            window,
            strides,
            dilation,
            strict=True,
        )
    ]
    x = np.pad(x, [(0, 0)] * first + widths + [(0, 0)])
    counts = [
        (x.shape[first + a] - (window[a] - 1) * dilation[a] - 1) // strides[a] + 1
        for a in range(rank)
    ]
    y = np.zeros((*x.shape[:first], *counts, out))
    for p in itertools.product(*map(range, counts)):
        own = tuple(p[a] % tiles[a] for a in range(rank))
        for t in itertools.product(*map(range, window)):
            cell = tuple(p[a] * strides[a] + t[a] * dilation[a] for a in range(rank))
            for o in range(out):
                c = o // (out // groups) * fan_in
                y[(..., *p, o)] += (
                    x[(..., *cell, slice(c, c + fan_in))] @ kernel[own + t][:, o]
                )
        if bias is not None:
            y[(..., *p, slice(None))] += bias if bias.ndim == 1 else bias[own]
    return y


@st.composite
def cases(draw):
    """x, tiles, window, channels and options of a tiled convolution."""
    rank = draw(st.integers(1, 2))

    def axes(values):
        return draw(values | st.tuples(*[values] * rank))

    window = draw(st.tuples(*[st.integers(1, 3)] * rank))
    strides, dilation = axes(st.integers(1, 2)), axes(st.integers(1, 2))
    pairs = st.tuples(st.integers(0, 2), st.integers(0, 2))
    names = st.sampled_from(["VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL"])
    padding = draw(names | st.tuples(*[pairs] * rank))
    steps = per_axis(dilation, rank)
    sizes = tuple(
        (k - 1) * d + draw(st.integers(1, 5))
        for k, d in zip(window, steps, strict=True)
    )
    groups = draw(st.sampled_from([1, 1, 2]))
    fan_in, out = draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    tiles = draw(st.tuples(*[st.integers(1, 4)] * rank))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = draw(st.sampled_from([(), (2,), (2, 1)]))
    x = rng.normal(size=(*batch, *sizes, groups * fan_in)).astype(np.float32)
    options = {
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }
    return x, tiles, (*window, fan_in, out), options, rng


def check(case):
    x, tiles, shape, options, rng = case
    kernel = rng.normal(size=(*tiles, *shape)).astype(np.float32)
    bias = rng.normal(size=(*tiles, shape[-1])).astype(np.float32)
    bias = bias[(0,) * len(tiles)] if rng.integers(2) else bias
    expected = loop_tiled(x, kernel, bias, **options)
    y = jax.jit(lambda *a: tiled_conv(*a, **options))(x, kernel, bias)
    terms = int(np.prod(shape[:-1]))
    assert_close(y, expected, dtype=jnp.float32, reduction=terms)

    rank = len(tiles)
    positions = y.shape[-rank - 1 : -1]
    kernel = rng.normal(size=(*positions, *shape)).astype(np.float32)
    bias = rng.normal(size=(*positions, shape[-1])).astype(np.float32)
    expected = loop_tiled(x, kernel, bias, **options)
    y = jax.jit(lambda *a: local_conv(*a, **options))(x, kernel, bias)
    assert_close(y, expected, dtype=jnp.float32, reduction=terms)


@pytest.mark.slow
@settings(max_examples=15)
@given(cases())
def test_tiled_and_local_equal_loops(case):
    check(case)


@pytest.mark.slow
@settings(max_examples=60)
@given(cases())
def test_many_tiled_and_local(case):
    check(case)


def test_three_axes(rng):
    x, shape = rng.normal(size=(1, 4, 3, 4, 2)), (2, 2, 2, 2, 3)
    check((x.astype(np.float32), (2, 1, 3), shape, {"padding": "VALID"}, rng))


@pytest.mark.parametrize("options", [{}, {"strides": 2, "groups": 2, "padding": 1}])
def test_one_tile_is_conv(options, rng):
    x = rng.normal(size=(2, 6, 5, 4))
    kernel = rng.normal(size=(3, 2, 4 // options.get("groups", 1), 6))
    bias = rng.normal(size=6)
    expected = oracles.conv(x, kernel, bias, **options)
    y = tiled_conv(x, kernel[None, None], bias[None, None], **options)
    assert_close(y, expected, dtype=jnp.float32, reduction=24)


def test_equal_kernels_are_conv(rng):
    x, kernel = rng.normal(size=(2, 6, 5, 4)), rng.normal(size=(3, 2, 4, 6))
    expected = oracles.conv(x, kernel, padding="VALID")
    everywhere = np.broadcast_to(kernel, (4, 4, *kernel.shape))
    y = local_conv(x, everywhere)
    assert_close(y, expected, dtype=jnp.float32, reduction=24)


def test_more_tiles_than_positions_use_the_first(rng):
    x, kernel = rng.normal(size=(1, 3, 2)), rng.normal(size=(5, 2, 2, 3))
    y = tiled_conv(x, kernel, padding="VALID")
    expected = loop_tiled(x, kernel, padding="VALID")
    assert_close(y, expected, dtype=jnp.float32, reduction=4)
    gradient = jax.grad(lambda k: jnp.sum(tiled_conv(x, k, padding="VALID") ** 2))(
        jnp.asarray(kernel, jnp.float32)
    )
    assert np.all(gradient[2:] == 0)
    assert np.all(gradient[:2] != 0)


@pytest.mark.slow
@pytest.mark.parametrize("call", [local_conv, tiled_conv])
def test_channels_first_and_halves(call, rng):
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 4, 2, 2, 3, 6)).astype(np.float32)
    y = call(x, kernel, padding="VALID")
    first = call(
        np.moveaxis(x, -1, 1), kernel, padding="VALID", data_format="channels_first"
    )
    assert_close(jnp.moveaxis(first, 1, -1), np.asarray(y))
    ones = jnp.ones((40, 1), "bfloat16").at[0].set(256)
    kernel = jnp.ones((1, 40, 1, 1), "bfloat16")
    y = call(ones, kernel, padding="VALID")
    assert y[0, 0] == jnp.asarray(256 + 39, "bfloat16")


def test_separable_conv_is_two_convolutions(rng):
    x, depthwise = rng.normal(size=(2, 6, 5, 3)), rng.normal(size=(3, 2, 1, 6))
    pointwise, bias = rng.normal(size=(1, 1, 6, 4)), rng.normal(size=4)
    options = {"strides": (2, 1), "dilation": (1, 2), "padding_mode": "circular"}
    middle = oracles.conv(x, depthwise, groups=3, **options)
    expected = oracles.conv(middle, pointwise, bias)
    y = separable_conv(x, depthwise, pointwise, bias, **options)
    assert_close(y, expected, dtype=jnp.float32, reduction=36)
    first = separable_conv(
        np.moveaxis(x, -1, 1),
        depthwise,
        pointwise,
        bias,
        data_format="channels_first",
        **options,
    )
    assert_close(jnp.moveaxis(first, 1, -1), np.asarray(y), reduction=36)
    flipped = separable_conv(x, depthwise[::-1, ::-1], pointwise, flip_kernel=True)
    assert_close(flipped, np.asarray(separable_conv(x, depthwise, pointwise)))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_spatially_separable_is_the_outer_product(mode, rng):
    x = rng.normal(size=(2, 6, 5, 4, 3))
    shared, own, last = (rng.normal(size=s) for s in ((3,), (2, 3), (3,)))
    whole = np.einsum("t,uc,v->tuvc", shared, own, last)[..., None, :]
    options = {"strides": (2, 1, 1), "dilation": (1, 2, 1), "padding_mode": mode}
    expected = oracles.conv(x, whole, groups=3, **options)
    y = spatially_separable_conv(x, [shared, own, last], **options)
    assert_close(y, expected, dtype=jnp.float32, reduction=18)
    pads = {"padding": ((1, 0), 2, (0, 1)), "flip_kernel": True}
    expected = oracles.conv(
        x, whole, groups=3, padding=((1, 0), (2, 2), (0, 1)), flip_kernel=True
    )
    y = spatially_separable_conv(x, [shared, own, last], **pads)
    assert_close(y, expected, dtype=jnp.float32, reduction=18)


def test_flip_kernel(rng):
    kernel = np.arange(1, 10).reshape(3, 3, 1, 1)
    turned = np.array([[9, 8, 7], [6, 5, 4], [3, 2, 1]])[..., None, None]
    assert_close(flip_kernel(jnp.asarray(kernel, "int32")), turned.astype("int32"))
    kernel = rng.normal(size=(2, 3, 4, 2, 2)).astype(np.float32)
    assert_close(flip_kernel(flip_kernel(kernel)), kernel)
    assert flip_kernel(kernel)[0, 2, 3, 0, 1] == kernel[1, 0, 0, 0, 1]
    x = rng.normal(size=(1, 5, 5, 5, 2)).astype(np.float32)
    y = conv(x, kernel, flip_kernel=True)
    assert_close(conv(x, flip_kernel(kernel)), np.asarray(y))
    with pytest.raises(ValueError, match=r"^flip_kernel: kernel must have at least 3"):
        flip_kernel(np.ones((3, 3)))
