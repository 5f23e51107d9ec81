"""lax_compatible_conv against jax.lax, and inside Flax's own convolution."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxnets.functional import lax_compatible_conv
from tests.helpers import assert_close


def arranged(array, spec):
    """(batch, feature, *spatial) with its axes where `spec` says."""
    order = [0] * array.ndim
    for axis, place in enumerate(spec):
        order[place] = axis
    return array.transpose(order)


@st.composite
def calls(draw, rank):
    """Arguments of lax.conv_general_dilated."""
    along = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * rank))  # noqa: E731
    window, strides = along(1, 3), along(1, 3)
    lhs_dilation = draw(st.sampled_from([None, (1,) * rank])) or along(1, 3)
    rhs_dilation = draw(st.none()) if draw(st.booleans()) else along(1, 2)
    steps = rhs_dilation or (1,) * rank
    names = ["SAME", "VALID", "SAME_LOWER"] if set(lhs_dilation) == {1} else []
    widths = st.integers(0, 3)
    pairs = st.lists(st.tuples(widths, widths), min_size=rank, max_size=rank)
    padding = draw(st.sampled_from([*names]) | pairs if names else pairs)
    least = [(w - 1) * d + 1 for w, d in zip(window, steps, strict=True)]
    spatial = tuple(n + draw(st.integers(0, 4)) for n in least)
    groups, fan_in, fan_out, batch = (draw(st.integers(1, 3)) for _ in range(4))
    axes = tuple(range(rank + 2))
    kind = draw(st.sampled_from(["none", "letters", "numbers"]))
    if kind == "none":
        layout, specs = None, (axes, axes, axes)
    elif kind == "letters":
        last = (0, rank + 1, *range(1, rank + 1))
        letters = "DHW"[-rank:]
        layout = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
        specs = (last, (rank + 1, rank, *range(rank)), last)
    else:
        specs = tuple(tuple(draw(st.permutations(axes))) for _ in range(3))
        layout = lax.ConvDimensionNumbers(*specs)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lhs = rng.normal(size=(batch, groups * fan_in, *spatial)).astype(np.float32)
    rhs = rng.normal(size=(groups * fan_out, fan_in, *window)).astype(np.float32)
    options = {
        "lhs_dilation": draw(st.sampled_from([lhs_dilation, None]))
        if set(lhs_dilation) == {1}
        else lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": layout,
        "feature_group_count": groups,
    }
    arrays = (arranged(lhs, specs[0]), arranged(rhs, specs[1]))
    return (*arrays, strides, padding), options


def check_against_lax(call):
    arguments, options = call
    wanted = lax.conv_general_dilated(*arguments, **options)
    got = lax_compatible_conv(*arguments, **options)
    assert_close(got, wanted, reduction=arguments[1].size)


@pytest.mark.slow
@settings(max_examples=6)
@given(st.data())
def test_equals_lax(data):
    check_against_lax(data.draw(calls(data.draw(st.integers(1, 3)))))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "examples"), [(1, 24), (2, 24), (3, 8)])
def test_many_calls_equal_lax(rank, examples):
    @settings(max_examples=examples)
    @given(calls(rank))
    def check(call):
        check_against_lax(call)

    check()


@pytest.mark.parametrize(
    ("dtype", "preferred"),
    [
        ("bfloat16", "float32"),
        ("float16", None),
        ("int8", "int32"),
        ("float32", "float32"),
    ],
)
def test_preferred_element_type(dtype, preferred, rng):
    x, k = rng.integers(-9, 9, (2, 3, 16)), rng.integers(-9, 9, (4, 3, 5))
    x, k = (jnp.asarray(a, dtype) for a in (x, k))
    arguments, options = (x, k, (1,), "SAME"), {"preferred_element_type": preferred}
    wanted = lax.conv_general_dilated(*arguments, **options)
    # Sums of small integers: exact until the result is rounded.
    assert_close(lax_compatible_conv(*arguments, **options), wanted, tol=0)


def test_the_signature_is_that_of_lax():
    theirs = inspect.signature(lax.conv_general_dilated).parameters
    ours = inspect.signature(lax_compatible_conv).parameters
    assert list(ours) == [*theirs, "accuracy"]
    assert ours["accuracy"].kind is inspect.Parameter.KEYWORD_ONLY
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default


FLAX = (
    {"padding": "SAME", "strides": 2, "feature_group_count": 2},
    {"padding": "VALID", "kernel_dilation": 2},
    {"padding": "CIRCULAR", "use_bias": False},
    {"padding": "REFLECT"},
    {"padding": [(2, 1), (0, 3)], "feature_group_count": 2},
    {"padding": ((1, 1), (2, 2)), "input_dilation": 2},
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [FLAX[0], *(pytest.param(o, marks=pytest.mark.slow) for o in FLAX[1:])]
)
def test_flax_convolution_is_unchanged(options, rng):
    x = jnp.asarray(rng.normal(size=(2, 7, 6, 4)), jnp.float32)
    layers = [
        nnx.Conv(4, 6, (3, 2), rngs=nnx.Rngs(0), **options, **more)
        for more in ({}, {"conv_general_dilated": lax_compatible_conv})
    ]

    def loss(layer, x):
        return jnp.sum(jnp.sin(layer(x)))

    theirs, ours = layers
    assert_close(ours(x), theirs(x), reduction=24)
    wanted, got = (nnx.grad(loss, argnums=(0, 1))(layer, x) for layer in layers)
    assert_close(nnx.to_pure_dict(got[0]), nnx.to_pure_dict(wanted[0]), reduction=84)
    assert_close(got[1], wanted[1], reduction=36)
    text = str(jax.make_jaxpr(lambda x: ours(x))(x))
    assert "jaxnets_conv[" in text
    assert "conv_general_dilated" not in text


def test_flax_causal_convolution_in_halves(rng):
    x = jnp.asarray(rng.normal(size=(2, 9, 4)), jnp.bfloat16)
    settings = {"padding": "CAUSAL", "dtype": jnp.bfloat16, "rngs": nnx.Rngs(0)}
    theirs = nnx.Conv(4, 6, 3, **settings)
    ours = nnx.Conv(4, 6, 3, **settings, conv_general_dilated=lax_compatible_conv)
    nnx.update(ours, nnx.state(theirs))
    assert_close(ours(x), theirs(x), reduction=12)


X, K = jnp.zeros((1, 2, 8, 8)), jnp.zeros((4, 2, 3, 3))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X, K[0], (1, 1), "SAME"), {}, "must have the same number of axes"),
        ((X[0, 0], K[0, 0], (), "SAME"), {}, "at least 3; got lhs.shape=.8, 8."),
        ((X, K, (1, 1), "SAME"), {"batch_group_count": 2}, "must be 1; got 2 .jax.lax"),
        (
            (X, K, (1, 1), "SAME"),
            {"lhs_dilation": (2, 1)},
            "padding must be pairs of numbers where lhs_dilation is not 1; got.*'SAME'",
        ),
        (
            (X, K, (1, 1), "SAME"),
            {"lhs_dilation": (0, 1)},
            "lhs_dilation must be at least 1; got 0",
        ),
        ((X, K, (1, 1), ((0, -1), (0, 0))), {}, "padding must be at least 0; got -1"),
        ((X, K, (1,), "SAME"), {}, "strides must have 2 entries.*got 1"),
        ((X, K, (1, 1), "SOME"), {}, "padding must be one of.*'SOME'"),
        (
            (X, K, (1, 1), "SAME"),
            {"feature_group_count": 3},
            "kernel has 3 groups of 2 input channels but x has 2",
        ),
        (
            (X, K, (1, 1), "SAME"),
            {"rhs_dilation": (1, 0)},
            "dilation must be at least 1; got 0",
        ),
    ],
)
def test_refusals(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        lax_compatible_conv(*arguments, **options)
