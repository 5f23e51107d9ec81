"""Strides and dilations from 10^6 to 2^40: the right value, or an error."""

from functools import partial
from itertools import product

import jax
import numpy as np
import pytest
from flax import nnx

from jaxnets.functional import (
    avg_pool,
    conv,
    conv_input_grad,
    conv_kernel_grad,
    conv_transpose,
    fold,
    lax_compatible_conv,
    local_conv,
    max_pool,
    unfold,
)
from jaxnets.functional.conv_algorithms import ALGORITHMS
from jaxnets.nn import Conv, receptive_field
from tests.functional.conv_algorithm_cases import skip_without_kernels
from tests.helpers import assert_close

LARGE = (10**6, 2**31 - 1, 2**31, 2**32 + 1, 2**40)
TOO_FAR = "pixels along spatial axis 0, more than 2147483647"
SIZE, TAPS, CHANNELS, OUT = 5, 3, 2, 3


@pytest.fixture
def arrays(rng):
    x = rng.normal(size=(2, SIZE, CHANNELS)).astype(np.float32)
    return x, rng.normal(size=(TAPS, CHANNELS, OUT)).astype(np.float32)


def pairs(positions, strides=1, dilation=1, lo=0, size=SIZE, taps=TAPS):
    """Every (output, tap, pixel) that meet, by Python's integers."""
    for p, t in product(range(positions), range(taps)):
        pixel = p * strides + t * dilation - lo
        if 0 <= pixel < size:
            yield p, t, pixel


def written_out(x, kernel, g, **options):
    """The convolution and its gradients, product by product."""
    positions = g.shape[1]
    y = np.zeros((len(x), positions, kernel.shape[-1]))
    dx, dk = np.zeros(x.shape), np.zeros(kernel.shape)
    for p, t, i in pairs(positions, size=x.shape[1], taps=len(kernel), **options):
        y[:, p] += x[:, i] @ kernel[t]
        dx[:, i] += g[:, p] @ kernel[t].T
        dk[t] += x[:, i].T @ g[:, p]
    return y, dx, dk


# Strides, dilation and padding in terms of a large number, and how many positions.
REACHES = {
    "dilation": lambda n: (1, n, (n, n), SIZE),
    "dilation, uneven": lambda n: (1, n, (n - 2, n + 2), SIZE),
    "stride": lambda n: (n, 1, (1, 1), 1),
    "stride and padding": lambda n: (n, 1, (n, n), 3),
    "stride and dilation alike": lambda n: (n, n, (2 * n, 2 * n), 3),
    "a common divisor": lambda n: (n, 2 * n, (4 * n - 1, 2 * n), 3),
    "no common divisor": lambda n: (n, n + 1, (2 * n, 2 * n), 3),
}


def problem(reach, large, arrays, rng):
    """The options of a case, g, and what the three parts are."""
    strides, dilation, padding, positions = REACHES[reach](large)
    g = rng.normal(size=(2, positions, OUT)).astype(np.float32)
    options = {"strides": strides, "dilation": dilation}
    wanted = written_out(*arrays, g, lo=padding[0], **options)
    return options | {"padding": (padding,)}, g, wanted


def parts(arrays, g, **options):
    """Runs of the three parts."""
    x, kernel = arrays
    return (
        partial(conv, x, kernel, **options),
        partial(conv_input_grad, g, kernel, SIZE, **options),
        partial(conv_kernel_grad, x, g, TAPS, **options),
    )


@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("large", LARGE)
def test_conv_and_its_gradients(reach, large, arrays, rng):
    options, g, wanted = problem(reach, large, arrays, rng)
    for run, want in zip(parts(arrays, g, **options), wanted, strict=True):
        if reach == "no common divisor" and large > 10**6:
            with pytest.raises(ValueError, match=TOO_FAR):
                run()
        else:
            assert_close(run(), want, dtype=np.float32, reduction=64)


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"winograd"}))
@pytest.mark.parametrize("reach", ["dilation", "stride", "a common divisor"])
def test_every_algorithm(name, reach, arrays, rng):
    skip_without_kernels(name, rank=1)
    options, g, wanted = problem(reach, 2**40, arrays, rng)
    runs = parts(arrays, g, algorithm=name, **options)
    for run, want in zip(runs, wanted, strict=True):
        assert_close(run(), want, dtype=np.float32, reduction=64)


@pytest.mark.parametrize("large", LARGE)
def test_outputs_that_no_array_holds_are_refused(large, arrays):
    x, kernel = arrays
    if large < 2**31 - 1:
        return
    more = "spatial axis 0 would have .* outputs, more than 2147483647"
    with pytest.raises(ValueError, match=f"conv: {more}"):
        conv(x, kernel, dilation=large, padding="FULL")
    with pytest.raises(ValueError, match=f"conv_transpose: {more}"):
        conv_transpose(x, kernel.swapaxes(1, 2), strides=large)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_many_times_the_image(mode, arrays):
    x, kernel = arrays
    numpy_mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    for pad, dilation in (((13, 29), 1), ((0, 17), 5), ((1000, 1000), 1000)):
        padded = np.pad(x, ((0, 0), pad, (0, 0)), mode=numpy_mode)
        positions = padded.shape[1] - dilation * (TAPS - 1)
        g = np.zeros((2, positions, OUT))
        wanted, _, _ = written_out(padded, kernel, g, dilation=dilation)
        options = {"padding": (pad,), "dilation": dilation, "padding_mode": mode}
        y = conv(x, kernel, **options)
        assert_close(y, wanted, dtype=np.float32, reduction=6)
    with pytest.raises(ValueError, match=f"padding_mode='{mode}' would write .* pixel"):
        conv(x, kernel, dilation=2**40, padding_mode=mode)


@pytest.mark.parametrize("large", LARGE)
def test_conv_transpose(large, arrays, rng):
    x, kernel = arrays
    x = x[:, :3]
    for strides, dilation, lo in ((large, 1, large - 1), (1, large, large - 1)):
        line = (len(x[0]) - 1) * strides + (TAPS - 1) * dilation + 1
        padding = ((lo, line - lo - 4),)
        wanted = np.zeros((2, 4, OUT))
        axis = {"strides": strides, "dilation": dilation, "lo": lo, "size": 4}
        for i, t, q in pairs(3, **axis):
            wanted[:, q] += x[:, i] @ kernel[t]
        y = conv_transpose(
            x,
            kernel.swapaxes(1, 2),
            strides=strides,
            dilation=dilation,
            padding=padding,
        )
        assert_close(y, wanted, dtype=np.float32, reduction=6)


@pytest.mark.parametrize(
    "large",
    [pytest.param(n, marks=pytest.mark.slow) if n == 10**6 else n for n in LARGE],
)
@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_pools(pool, large, arrays):
    x, _ = arrays
    of = np.max if pool is max_pool else np.mean
    got, back = jax.vjp(partial(pool, window=(2,), strides=large), x)
    assert_close(got, of(x[:, :2], 1, keepdims=True), dtype=np.float32)
    (dx,) = back(np.ones_like(got))
    assert_close(dx.sum(), np.float32(got.size), dtype=np.float32)
    options = {"strides": 1, "dilation": large, "padding": ((large, 0),)}
    if pool is avg_pool:
        options["count_include_pad"] = False
    if large < 2**28:
        got, back = jax.vjp(partial(pool, window=(2,), **options), x)
        assert_close(got, x, dtype=np.float32)
        assert_close(back(np.ones_like(x))[0], np.ones_like(x), dtype=np.float32)
        return
    for wrong in (options, {"padding": "SAME", "strides": 1, "window": (large,)}):
        with pytest.raises(ValueError, match="at most 268435456 pixels beyond x"):
            pool(x, **{"window": (2,)} | wrong)


@pytest.mark.parametrize("large", LARGE)
def test_unfold_and_fold(large, arrays):
    x, _ = arrays
    patches = unfold(x, (2,), strides=large, padding="VALID")
    assert_close(patches[:, 0], x[:, :2])
    back = fold(patches, (SIZE,), strides=large)
    wanted = np.where(np.arange(SIZE)[:, None] < 2, x, 0)
    assert_close(back, wanted)
    options = {"dilation": large, "padding": ((0, large),)}
    if large < 2**28:
        patches = unfold(x, (2,), **options)
        assert_close(patches, np.stack([x, np.zeros_like(x)], 2))
        assert_close(fold(patches, (SIZE,), **options), x)
        return
    with pytest.raises(ValueError, match="unfold: windows must reach at most 26843545"):
        unfold(x, (2,), **options)
    with pytest.raises(ValueError, match="fold: windows must reach at most 268435456"):
        fold(np.zeros((2, SIZE, 2, 1)), (SIZE,), **options)


@pytest.mark.parametrize("large", LARGE)
def test_local_conv(large, arrays, rng):
    x, _ = arrays
    kernel = rng.normal(size=(1, TAPS, CHANNELS, OUT)).astype(np.float32)
    y = local_conv(x, kernel, strides=large, padding="VALID")
    wanted = np.einsum("ntc,tco->no", x[:, :TAPS], kernel[0])[:, None]
    assert_close(y, wanted, dtype=np.float32, reduction=6)


def test_images_spread_too_far_are_refused(arrays):
    x, kernel = arrays
    layer = Conv(CHANNELS, 1, (TAPS,), input_dilation=2**40, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Conv: input_dilation must leave at most 214"):
        layer(x)
    with pytest.raises(ValueError, match="lhs_dilation must leave at most 214748364"):
        lax_compatible_conv(
            x,
            kernel,
            (1,),
            ((0, 0),),
            lhs_dilation=(2**40,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )


@pytest.mark.parametrize("large", LARGE)
def test_receptive_field(large):
    options = {"strides": large, "kernel_dilation": large}
    options["padding"] = ((2 * large, 2 * large),)
    layer = Conv(1, 1, (TAPS,), rngs=nnx.Rngs(0), **options)
    field = receptive_field([layer], (SIZE, 1))
    assert field.jump == (large,)
    assert field.size == (2 * large + 1,)
