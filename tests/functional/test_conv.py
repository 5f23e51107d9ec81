"""conv against sums written out, and the laws that a convolution obeys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from jaxnets.functional import conv, conv_output_shape, conv_plan
from tests import oracles
from tests.functional.conv_cases import conv_cases
from tests.helpers import assert_close


def check_against_loops(case):
    meaning = {k: v for k, v in case.options.items() if k != "algorithm"}
    if isinstance(meaning["padding"], str):
        meaning["padding"] = meaning["padding"].upper()
    expected = oracles.conv(case.x, case.kernel, case.bias, **meaning)
    actual = conv(case.x, case.kernel, case.bias, **case.options)
    terms = int(np.prod(case.kernel.shape[:-1]))
    assert_close(actual, expected, dtype=jnp.float32, reduction=terms)
    sizes = {
        name: case.options[name]
        for name in ("strides", "padding", "dilation", "groups", "data_format")
    }
    assert conv_output_shape(case.x.shape, case.kernel.shape, **sizes) == actual.shape


@pytest.mark.slow
@settings(max_examples=8)
@given(st.data())
def test_conv_equals_the_sums_written_out(data):
    check_against_loops(data.draw(conv_cases(data.draw(st.integers(1, 4)))))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "examples"), [(1, 160), (2, 200), (3, 100), (4, 40)])
def test_many_convs_equal_the_sums_written_out(rank, examples):
    @settings(max_examples=examples)
    @given(conv_cases(rank))
    def check(case):
        check_against_loops(case)

    check()


def test_the_textbook_products():
    image = jnp.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[..., None]
    kernel = jnp.array([[1.0, 2], [3, 4]])[..., None, None]
    correlation = conv(image, kernel, padding="VALID")[..., 0]
    assert correlation.tolist() == [[37, 47], [67, 77]]
    convolution = conv(image, kernel, padding="VALID", flip_kernel=True)[..., 0]
    assert convolution.tolist() == [[23, 33], [53, 63]]


def test_true_convolution_commutes(rng):
    a, b = rng.normal(size=(7, 5)), rng.normal(size=(4, 3))
    ab = conv(a[..., None], b[..., None, None], padding="FULL", flip_kernel=True)
    ba = conv(b[..., None], a[..., None, None], padding="FULL", flip_kernel=True)
    assert_close(ab, np.asarray(ba), reduction=12)


def test_a_1x1_kernel_mixes_channels(rng):
    x, mix = rng.normal(size=(2, 5, 4, 3)), rng.normal(size=(3, 2))
    y = conv(x, mix[None, None])
    assert_close(y, x @ mix, dtype=jnp.float32, reduction=3)


def test_shifting_the_input_shifts_the_output(rng):
    x, k = rng.normal(size=(2, 12, 3)), rng.normal(size=(5, 3, 4))
    y = conv(x, k, padding_mode="circular")
    shifted = conv(np.roll(x, 3, axis=1), k, padding_mode="circular")
    assert_close(shifted, np.roll(np.asarray(y), 3, axis=1), reduction=15)


def test_causal_output_ignores_the_future(rng):
    x, k = rng.normal(size=(16, 2)), rng.normal(size=(3, 2, 2))
    later = x.copy()
    later[9:] += 1
    y, moved = (
        np.asarray(conv(a, k, padding="CAUSAL", dilation=2)) for a in (x, later)
    )
    assert_close(moved[:9], y[:9])
    assert np.all(moved[9] != y[9])


def causal_options():
    return {"strides": 2, "padding": ((2, 0), (0, 1)), "dilation": (1, 2), "groups": 2}


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "options",
    [
        {},
        causal_options(),
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                {"padding": "FULL", "flip_kernel": True, "groups": 2},
                {"padding_mode": "reflect", "strides": (3, 1), "groups": 2},
                {
                    "padding": ((5, 6), (7, 4)),
                    "data_format": "channels_first",
                    "groups": 2,
                },
            )
        ),
    ],
)
def test_derivatives_of_second_order(options, rng):
    """By what "auto" takes; test_conv_gradients has every algorithm."""
    shape = (4, 6, 5) if options.get("data_format") else (6, 5, 4)
    x = rng.normal(size=(2, *shape))
    k = rng.normal(size=(3, 2, 4 // options.get("groups", 1), 4))
    check_grads(lambda *a: conv(*a, **options), (x, k, rng.normal(size=4)), order=2)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=pytest.mark.slow), causal_options()]
)
@pytest.mark.parametrize(
    "axes", [pytest.param((1, None), marks=pytest.mark.slow), (None, 0), (2, 3), (0, 0)]
)
def test_vmap_folds_and_keeps_the_gradients(axes, options, rng):
    x = rng.normal(size=(2, 6, 5, 4))
    k = rng.normal(size=(3, 2, 4 // options.get("groups", 1), 6))
    xs = x if axes[0] is None else np.stack([x, x + 1, 2 * x], axes[0])
    ks = k if axes[1] is None else np.stack([k, k - 1, 3 * k], axes[1])

    def loss(x, k):
        return jnp.sum(jnp.sin(conv(x, k, **options)))

    both = jax.value_and_grad(loss, (0, 1))
    mapped = jax.vmap(both, axes)(xs, ks)
    for i in range(3):
        one = both(
            x if axes[0] is None else jnp.take(xs, i, axes[0]),
            k if axes[1] is None else jnp.take(ks, i, axes[1]),
        )
        assert_close(jax.tree.map(lambda a: a[i], mapped), one, reduction=100)  # noqa: B023
    jaxpr = str(jax.make_jaxpr(jax.vmap(both, axes))(xs, ks))
    assert "jaxnets_conv_kernel_grad" in jaxpr
    assert "conv_general_dilated" not in jaxpr


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_vmap_of_each_gradient_alone(rng):
    x, k = rng.normal(size=(1, 7, 4)), rng.normal(size=(3, 2, 4))
    y, transpose = jax.vjp(lambda x, k: conv(x, k, groups=2), x, k)
    cotangents = rng.normal(size=(5, *y.shape))
    dx, dk = jax.vmap(transpose)(cotangents)
    for i in range(5):
        assert_close((dx[i], dk[i]), transpose(cotangents[i]))
    rows = jax.jacrev(lambda x: conv(x, k, groups=2))(x)
    columns = jax.jacfwd(lambda x: conv(x, k, groups=2))(x)
    assert_close(rows, columns)
    twice = jax.vmap(jax.vmap(transpose))(np.stack([cotangents, 2 * cotangents]))
    assert_close(twice[1][1], 2 * dk)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("cut", ["batch", "features"])
def test_sharded_equals_whole(axis_type, cut, rng):
    x = rng.normal(size=(8, 6, 5, 4)).astype(np.float32)
    k = rng.normal(size=(3, 3, 4, 8)).astype(np.float32)

    def loss(x, k):
        return jnp.sum(jnp.sin(conv(x, k)))

    expected = jax.grad(loss, (0, 1))(x, k)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(axis_type,))
    over_x = PartitionSpec("d") if cut == "batch" else PartitionSpec()
    over_k = PartitionSpec() if cut == "batch" else PartitionSpec(None, None, None, "d")
    with jax.set_mesh(mesh):
        xs = jax.device_put(x, NamedSharding(mesh, over_x))
        ks = jax.device_put(k, NamedSharding(mesh, over_k))
        y = jax.jit(conv)(xs, ks)
        spread = y.sharding.spec[0 if cut == "batch" else 3]
        assert spread == "d"
        assert_close(jax.jit(jax.grad(loss, (0, 1)))(xs, ks), expected, reduction=240)


def test_shard_map_sums_the_kernel_gradient_over_devices(rng):
    x = rng.normal(size=(8, 6, 4)).astype(np.float32)
    k = rng.normal(size=(3, 4, 2)).astype(np.float32)

    def loss(x, k):
        return jnp.sum(jnp.sin(conv(x, k)))

    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(
        lambda x, k: lax.psum(loss(x, k), "d"),
        mesh=mesh,
        in_specs=(PartitionSpec("d"), PartitionSpec()),
        out_specs=PartitionSpec(),
    )
    assert_close(
        jax.jit(jax.grad(spread, (0, 1)))(x, k),
        jax.grad(loss, (0, 1))(x, k),
        reduction=48,
    )


def test_export(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 5, 3)), jnp.float32)
    k = jnp.asarray(rng.normal(size=(3, 3, 3, 4)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x, k: jnp.sum(conv(x, k) ** 2), (0, 1)))
    exported = jax.export.export(gradient)(x, k)
    assert_close(exported.call(x, k), gradient(x, k))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("taps", "channels"),
    # Ones added to 2048 one by one are lost in halves; so are, in bfloat16, thousands
    # of ones among themselves. More taps than these take minutes to compile.
    [(64, 1), (3, 1365)],
)
def test_halves_are_summed_in_float32(taps, channels, dtype):
    x = jnp.ones((1, taps + 1, channels), dtype)
    k = jnp.ones((taps, channels, 1), dtype).at[0, 0].set(2048)
    y = conv(x, k, padding="VALID")
    assert y.dtype == dtype
    assert (y == jnp.asarray(2048 + taps * channels - 1, dtype)).all()


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8"])
def test_integers_stay_integers(dtype, rng):
    x, k = rng.integers(0, 4, (2, 6, 2)), rng.integers(0, 3, (3, 2, 2))
    y = conv(jnp.asarray(x, dtype), jnp.asarray(k, dtype))
    assert_close(y, oracles.conv(x, k).astype(dtype))


def test_complex_is_bilinear_not_conjugated(rng):
    x = rng.normal(size=(2, 6, 2)) + 1j * rng.normal(size=(2, 6, 2))
    k = rng.normal(size=(3, 2, 2)) + 1j * rng.normal(size=(3, 2, 2))
    real = oracles.conv(x.real, k.real) - oracles.conv(x.imag, k.imag)
    imag = oracles.conv(x.real, k.imag) + oracles.conv(x.imag, k.real)
    assert_close(conv(x, k), (real + 1j * imag).astype(np.complex64), reduction=6)


def test_an_empty_batch_gives_an_empty_result():
    assert conv(jnp.zeros((0, 5, 2)), jnp.zeros((3, 2, 4))).shape == (0, 5, 4)


def test_the_default_precision_is_the_one_in_force():
    x, k = jnp.ones((1, 4, 2)), jnp.ones((3, 2, 2))
    with jax.default_matmul_precision("bfloat16"):
        assert "precision='bfloat16'" in str(jax.make_jaxpr(conv)(x, k))
    text = jax.jit(lambda x, k: conv(x, k, precision="highest")).lower(x, k).as_text()
    assert "HIGHEST" in text


@pytest.mark.slow
def test_auto_goes_by_the_platform():
    """On accelerators XLA's own convolution, on CPU what the plan of its rates says."""
    x, k = jnp.ones((2, 6, 6, 4)), jnp.ones((3, 3, 4, 32))
    gradient = jax.jit(jax.grad(lambda k: jnp.sum(conv(x, k) ** 2)))
    for platform in ("cpu", "cuda", "tpu"):
        plan = conv_plan(x.shape, k.shape, platform=platform)
        by_xla = [plan.forward, plan.kernel_grad].count("direct")
        text = gradient.trace(k).lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.convolution") == by_xla
        assert platform == "cpu" or by_xla == 2
