"""Conv is nnx.Conv with more: same weights, same outputs; its own options by hand."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets.functional._penalties import l2
from jaxnets.nn import Conv, constrain, penalty
from tests.helpers import assert_close

FLAX_OPTIONS = [
    {},
    {"padding": "VALID", "strides": 2},
    {"padding": "SAME", "strides": (2, 1), "kernel_dilation": (1, 2)},
    {"padding": "CIRCULAR"},
    {"padding": "CIRCULAR", "strides": 2, "kernel_dilation": 2},
    {"padding": "REFLECT"},
    {"padding": [(1, 2), (0, 1)]},
    {"padding": 2, "use_bias": False},
    {"padding": (1, 0), "feature_group_count": 2},
    {"input_dilation": (3, 2), "padding": 1, "strides": (1, 2)},
    {"input_dilation": 2, "padding": [(1, 2), (0, 1)], "kernel_dilation": 2},
    {"strides": None, "kernel_dilation": None, "input_dilation": None},
    {"bias_init": nnx.initializers.normal(), "param_dtype": jnp.bfloat16},
    {"dtype": jnp.bfloat16},
    {"kernel_init": nnx.initializers.he_uniform(), "precision": "highest"},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", FLAX_OPTIONS)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_same_as_flax(rng, options, batch):
    ours = Conv(4, 6, (3, 2), rngs=nnx.Rngs(7), **options)
    theirs = nnx.Conv(4, 6, (3, 2), rngs=nnx.Rngs(7), **options)
    pure = [nnx.to_pure_dict(nnx.state(layer)) for layer in (ours, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *pure)
    x = jnp.asarray(rng.normal(size=(*batch, 8, 7, 4)), jnp.float32)
    # float32 sums of bfloat16 are rounded once here and twice in Flax.
    half = options.get("dtype") == jnp.bfloat16
    expected = theirs(x)
    assert_close(ours(x), expected, reduction=24, tol=2e-2 if half else None)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"padding": "CAUSAL", "kernel_dilation": 2}])
def test_same_as_flax_in_one_dimension(rng, options):
    ours = Conv(3, 5, 4, rngs=nnx.Rngs(1), **options)
    theirs = nnx.Conv(3, 5, 4, rngs=nnx.Rngs(1), **options)
    x = jnp.asarray(rng.normal(size=(2, 9, 3)), jnp.float32)
    assert_close(ours(x), theirs(x), reduction=12)


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
def test_input_dilation_with_a_name(rng, padding):
    """Flax refuses it; it is the convolution of the signal with zeros put in."""
    x = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    spread = np.zeros((2, 9, 10, 3), np.float32)
    spread[:, ::2, ::3] = x
    options = {"padding": padding, "strides": 2}
    ours = Conv(3, 4, (3, 2), input_dilation=(2, 3), rngs=nnx.Rngs(0), **options)
    theirs = nnx.Conv(3, 4, (3, 2), rngs=nnx.Rngs(0), **options)
    assert_close(ours(x), theirs(jnp.asarray(spread)), reduction=18)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_mask(rng, array):
    mask = rng.integers(0, 2, (3, 2, 4, 6)).astype(np.float32)
    ours = Conv(4, 6, (3, 2), mask=jnp.asarray(mask), rngs=nnx.Rngs(7))
    theirs = nnx.Conv(4, 6, (3, 2), mask=jnp.asarray(mask), rngs=nnx.Rngs(7))
    x = array(rng.normal(size=(2, 8, 7, 4)).astype(np.float32))
    assert_close(ours(x), theirs(jnp.asarray(x)), reduction=24)


def test_gradients_are_those_of_flax(rng):
    x = jnp.asarray(rng.normal(size=(2, 8, 7, 4)), jnp.float32)
    weights = rng.normal(size=(2, 4, 4, 6)).astype(np.float32)

    def grads(layer):
        loss = nnx.grad(lambda layer: (layer(x) * weights).sum())
        return nnx.to_pure_dict(nnx.jit(loss)(layer))

    pair = [make(4, 6, (3, 2), 2, rngs=nnx.Rngs(7)) for make in (Conv, nnx.Conv)]
    ours, theirs = (grads(layer) for layer in pair)
    assert_close(ours, theirs, reduction=32)


@pytest.mark.slow
def test_own_options_by_hand(rng):
    x = rng.normal(size=(2, 7, 3)).astype(np.float32)
    layer = Conv(
        3, 5, (3,), padding=1, padding_mode="replicate", flip_kernel=True,
        activation=jnp.tanh, bias_init=nnx.initializers.normal(), rngs=nnx.Rngs(0),
    )  # fmt: skip
    kernel = np.asarray(layer.kernel[...], np.float64)[::-1]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (0, 0)), mode="edge")
    expected = np.empty((2, 7, 5))
    for p in range(7):
        expected[:, p] = np.einsum("ntc,tco->no", padded[:, p : p + 3], kernel)
    expected = np.tanh(expected + np.asarray(layer.bias[...], np.float64))
    assert_close(layer(x), expected, dtype="float32", reduction=9)


@pytest.mark.slow
def test_channels_first(rng):
    options = {"strides": 2, "input_dilation": (1, 2), "rngs": nnx.Rngs(0)}
    last = Conv(3, 5, (3, 2), **options)
    first = Conv(3, 5, (3, 2), data_format="channels_first", **options)
    first.kernel[...] = last.kernel[...]
    x = jnp.asarray(rng.normal(size=(2, 6, 7, 3)), jnp.float32)
    got = first(jnp.moveaxis(x, -1, 1))
    assert_close(jnp.moveaxis(got, 1, -1), last(x), reduction=18)


@pytest.mark.slow
def test_parameters_carry_what_is_asked_for(rng):
    half = functools.partial(l2, strength=0.5)
    layer = Conv(
        2, 3, (3, 3), kernel_regularizer=half, bias_regularizer=half,
        kernel_constraint=jnp.abs, bias_constraint=jnp.abs, trainable=False,
        bias_init=nnx.initializers.normal(), kernel_metadata={"note": "mine"},
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    for variable in (layer.kernel, layer.bias):
        assert variable.get_metadata("trainable") is False
        assert variable.get_metadata("constraint") is jnp.abs
        variable.set_metadata(trainable=True)
    assert layer.kernel.get_metadata("note") == "mine"
    values = (np.asarray(v[...], np.float64) for v in (layer.kernel, layer.bias))
    expected = 0.5 * sum((value**2).sum() for value in values)
    np.testing.assert_allclose(penalty(layer), expected, rtol=1e-6)
    params = nnx.to_pure_dict(nnx.state(layer, nnx.Param))
    tx = constrain(layer)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zero, tx.init(params), params)
    new = jax.tree.map(jnp.add, params, updates)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, abs(b), rtol=1e-6), new, params
    )


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_activity_penalty_of_the_last_call(rng, batch):
    half = functools.partial(l2, strength=0.5)
    layer = Conv(2, 3, (3,), activity_regularizer=half, rngs=nnx.Rngs(0))
    assert float(penalty(layer)) == 0
    for _ in range(2):
        x = jnp.asarray(rng.normal(size=(*batch, 5, 2)), jnp.float32)
        y = np.asarray(layer(x), np.float64)
        expected = 0.5 * (y**2).sum() / max(np.prod(batch), 1)
        np.testing.assert_allclose(penalty(layer), expected, rtol=1e-5)


def test_activity_penalty_in_a_jitted_step(rng):
    """Its gradient reaches the kernel, and the state keeps its structure."""
    half = functools.partial(l2, strength=0.5)
    layer = Conv(2, 3, (3,), activity_regularizer=half, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
    x = jnp.asarray(rng.normal(size=(4, 5, 2)), jnp.float32)

    def loss(params, rest):
        model = nnx.merge(graph, params, rest)
        model(x)
        return penalty(model), nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

    def direct(params):
        y = nnx.merge(graph, params, rest)(x)
        return 0.5 * (y**2).sum() / 4

    step = jax.jit(jax.grad(loss, has_aux=True))
    grads, new = step(params, rest)
    assert_close(grads, jax.grad(direct)(params), reduction=20)
    assert jax.tree.structure(new) == jax.tree.structure(rest)
    step(params, new)
    assert step._cache_size() == 1


@pytest.mark.slow
def test_vmapped_layers(rng):
    """An ensemble of layers by nnx.vmap is the layers one by one."""
    x = jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)

    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make(rngs):
        return Conv(3, 4, (3,), rngs=rngs)

    many = make(nnx.Rngs(0))
    got = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(many, x)
    one = Conv(3, 4, (3,), rngs=nnx.Rngs(0))
    for i in range(3):
        one.kernel[...] = many.kernel[...][i]
        assert_close(got[i], one(x), reduction=9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel_size": (3, 0)}, ValueError, "kernel_size must be at least 1; got 0"),
        ({"in_features": 0}, ValueError, "in_features must be at least 1; got 0"),
        ({"strides": (1, 2, 3)}, ValueError, "strides must have 2 entries.*got 3"),
        (
            {"feature_group_count": 2},
            ValueError,
            "feature_group_count must divide in_features and out_features; got 2 for 3",
        ),
        ({"mask": np.ones((3, 3))}, ValueError, r"mask must have shape \(3, 3, 3, 4\)"),
        (
            {"conv_general_dilated": jax.lax.conv_general_dilated},
            TypeError,
            "conv_general_dilated cannot be replaced .*algorithm=",
        ),
        (
            {"preferred_element_type": jnp.float32},
            TypeError,
            "preferred_element_type is not supported; .*use dtype=",
        ),
        (
            {"padding": "CIRCULAR", "padding_mode": "reflect"},
            ValueError,
            "padding 'CIRCULAR' already says .*got padding_mode='reflect'",
        ),
        (
            {"data_format": "NHWC"},
            ValueError,
            "data_format must be one of .*got 'NHWC'",
        ),
        (
            {"use_bias": False, "bias_regularizer": jnp.sum},
            ValueError,
            "bias_regularizer is given but there is no bias",
        ),
        (
            {"trainable": False, "kernel_metadata": {"trainable": True}},
            ValueError,
            "trainable of the kernel is given twice, by its own argument and in",
        ),
    ],
)
def test_errors(options, error, message):
    sizes = {"in_features": 3, "out_features": 4, "kernel_size": (3, 3), **options}
    with pytest.raises(error, match=f"^Conv: {message}"):
        Conv(rngs=nnx.Rngs(0), **sizes)


def test_a_regularizer_must_be_a_function():
    layer = Conv(3, 4, (3,), rngs=nnx.Rngs(0))
    # The type checks of the test suite stand before the layer's own.
    again = functools.partial(inspect.unwrap(Conv.__init__), layer, 3, 4, (3,))
    for name in ("kernel_regularizer", "bias_constraint"):
        message = f"^Conv: {name} must be a function of an array; got 0.1"
        with pytest.raises(TypeError, match=message):
            again(rngs=nnx.Rngs(0), **{name: 0.1})


def test_errors_of_a_call():
    layer = Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match="conv: kernel has 3 input channels but x has 2"
    ):
        layer(jnp.zeros((1, 5, 5, 2)))
    layer = Conv(3, 4, (3,), activity_regularizer=jnp.abs, rngs=nnx.Rngs(0))
    message = r"activity_regularizer must return a scalar; it returned shape \(5, 4\)"
    with pytest.raises(ValueError, match=message):
        layer(jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"padding must be one of .*got 'SOME'"):
        Conv(3, 4, (3,), padding="SOME", rngs=nnx.Rngs(0))(jnp.zeros((5, 3)))
