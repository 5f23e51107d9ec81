"""The option `accuracy`, the context `conv_accuracy`, and what each default is."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxnets import functional as F
from jaxnets import models, nn
from jaxnets.functional import conv_accuracy

X, K = jnp.ones((1, 6, 6, 2)), jnp.ones((3, 3, 2, 2))
G = jnp.ones((1, 6, 6, 2))
DEPTHWISE, POINTWISE = jnp.ones((3, 3, 1, 2)), jnp.ones((1, 1, 2, 2))
LSTM = F.init_conv_lstm(jax.random.key(0), 2, 2, (3, 3))
STATE = F.LSTMState(jnp.ones((1, 6, 6, 2)), jnp.ones((1, 6, 6, 2)))

# Every function that convolves: of arrays, with the option.
FUNCTIONS = {
    "conv": (F.conv, X, K),
    "conv_transpose": (F.conv_transpose, X, K),
    "conv_input_grad": (partial(F.conv_input_grad, input_size=6), G, K),
    "conv_kernel_grad": (partial(F.conv_kernel_grad, window=(3, 3)), X, G),
    "convolve": (F.convolve, X[0, ..., 0], K[..., 0, 0]),
    "correlate": (F.correlate, X[0, ..., 0], K[..., 0, 0]),
    "polynomial_product": (F.polynomial_product, X[0, 0, :, 0], K[0, 0, 0]),
    "separable_conv": (F.separable_conv, X, DEPTHWISE, POINTWISE),
    "spatially_separable_conv": (
        lambda x, a, b, **options: F.spatially_separable_conv(x, (a, b), **options),
        *(X, K[:, 0, 0, 0], K[:, 0, 0, 0]),
    ),
    "tiled_conv": (F.tiled_conv, X, jnp.ones((2, 2, 3, 3, 2, 2))),
    "local_conv": (F.local_conv, X, jnp.ones((2, 2, 5, 5, 2, 2))),
    "conv_lstm_cell": (
        lambda x, **options: F.conv_lstm_cell(LSTM, STATE, x, **options)[1],
        X,
    ),
    "lax_compatible_conv": (
        partial(F.lax_compatible_conv, window_strides=(1, 1), padding="SAME"),
        *(X.transpose(0, 3, 1, 2), K.transpose(3, 2, 0, 1)),
    ),
    "conv_operator": (
        lambda x, k, **options: F.conv_operator(k, (6, 6, 2), **options) @ x.ravel(),
        *(X, K),
    ),
}
LAYERS = {
    "Conv": partial(nn.Conv, 2, 2, (3, 3)),
    "ConvTranspose": partial(nn.ConvTranspose, 2, 2, (3, 3)),
    "SeparableConv": partial(nn.SeparableConv, 2, 2, (3, 3)),
    "LocalConv": partial(nn.LocalConv, 2, 2, (5, 5), (6, 6)),
    "TiledConv": partial(nn.TiledConv, 2, 2, (3, 3), 2),
    "ConvBlock": partial(nn.ConvBlock, 2, 2, (3, 3)),
    "ResidualBlock": partial(nn.ResidualBlock, 2, 2),
    "InceptionBlock": partial(nn.InceptionBlock, 2, 2, ((3, 2, 2),), 2),
}


def classes(function, *arrays):
    """The classes of all convolutions that a function and its gradients trace."""
    if isinstance(function, nnx.Module):
        function.eval()

    def total(*arrays):
        return jnp.sum(function(*arrays))

    text = str(jax.make_jaxpr(jax.grad(total, range(len(arrays))))(*arrays))
    assert "jaxnets_conv" in text
    relaxed, strict = text.count("relaxed=True"), text.count("relaxed=False")
    names = {"relaxed": relaxed, "elementwise": strict}
    return {name for name, count in names.items() if count}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_elementwise_unless_told(name):
    function, *arrays = FUNCTIONS[name]
    assert classes(function, *arrays) == {"elementwise"}
    for accuracy in ("elementwise", "relaxed"):
        option = partial(function, accuracy=accuracy)
        assert classes(option, *arrays) == {accuracy}
        with conv_accuracy(accuracy):
            assert classes(function, *arrays) == {accuracy}
        for other in ("elementwise", "relaxed"):
            with conv_accuracy(other):
                assert classes(option, *arrays) == {accuracy}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_relaxed_unless_told(name):
    x = X
    plain = LAYERS[name](rngs=nnx.Rngs(0))
    assert classes(plain, x) == {"relaxed"}
    with conv_accuracy("elementwise"):
        assert classes(plain, x) == {"elementwise"}
    for accuracy in ("elementwise", "relaxed"):
        layer = LAYERS[name](rngs=nnx.Rngs(0), accuracy=accuracy)
        assert classes(layer, x) == {accuracy}
        with conv_accuracy("relaxed"):
            assert classes(layer, x) == {accuracy}


def test_a_layer_over_sequences_is_relaxed_unless_told():
    videos = jnp.ones((1, 2, 6, 6, 2))
    layer = nn.ConvLSTM(2, 2, (3, 3), rngs=nnx.Rngs(0))
    assert classes(layer, videos) == {"relaxed"}
    layer = nn.ConvLSTM(2, 2, (3, 3), accuracy="elementwise", rngs=nnx.Rngs(0))
    assert classes(layer, videos) == {"elementwise"}


def test_networks_are_relaxed_unless_told():
    model, images = models.LeNet5(rngs=nnx.Rngs(0)), jnp.ones((1, 32, 32, 1))
    assert classes(model, images) == {"relaxed"}
    with conv_accuracy("elementwise"):
        assert classes(model, images) == {"elementwise"}


def test_second_derivatives_and_vmap_keep_the_class():
    def gradient(x, k):
        return jax.grad(lambda x: jnp.sum(jnp.sin(F.conv(x, k, accuracy="relaxed"))))(x)

    assert classes(gradient, X, K) == {"relaxed"}
    mapped = jax.vmap(gradient)
    assert classes(mapped, jnp.stack([X] * 3), jnp.stack([K] * 3)) == {"relaxed"}


def test_the_context_is_in_force_from_the_call_or_in_a_block():
    try:
        assert classes(F.conv, X, K) == {"elementwise"}
        conv_accuracy("relaxed")
        assert classes(F.conv, X, K) == {"relaxed"}
        with conv_accuracy("elementwise"):
            assert classes(F.conv, X, K) == {"elementwise"}
            with conv_accuracy(None):
                assert classes(F.conv, X, K) == {"elementwise"}
                layer = nn.Conv(2, 2, (3, 3), rngs=nnx.Rngs(0))
                assert classes(layer, X) == {"relaxed"}
        assert classes(F.conv, X, K) == {"relaxed"}
        block = conv_accuracy("elementwise")
        for _ in range(2):
            with pytest.raises(KeyError, match="theirs"), block:
                assert classes(F.conv, X, K) == {"elementwise"}
                raise KeyError("theirs")
            assert classes(F.conv, X, K) == {"relaxed"}
    finally:
        conv_accuracy(None)
    assert classes(F.conv, X, K) == {"elementwise"}


def test_functions_already_compiled_are_traced_again():
    traces = []

    @jax.jit
    def run(x, k):
        traces.append(None)
        return F.conv(x, k)

    run(X, K)
    with conv_accuracy("relaxed"):
        run(X, K)
        run(X, K)
    run(X, K)
    assert len(traces) == 2


@pytest.mark.parametrize("accuracy", ["elementwise", "relaxed"])
def test_an_algorithm_asked_for_by_name_runs_in_both_classes(accuracy):
    run = jax.jit(partial(F.conv, algorithm="fft", accuracy=accuracy))
    assert "stablehlo.fft" in run.lower(X, K).as_text()


def test_the_rule_takes_transforms_only_where_it_may():
    shapes = (4, 64, 64, 2), (31, 31, 2, 2)
    x, k = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes)
    with jax.default_matmul_precision("default"):
        text = jax.jit(F.conv).lower(x, k).as_text()
        assert "stablehlo.fft" not in text
        text = jax.jit(partial(F.conv, accuracy="relaxed")).lower(x, k).as_text()
        assert "stablehlo.fft" in text


MESSAGE = "accuracy must be one of 'elementwise', 'relaxed', None; got 'exact'"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_refuse_an_unknown_class(name):
    function, *arrays = FUNCTIONS[name]
    with pytest.raises(ValueError, match=MESSAGE):
        function(*arrays, accuracy="exact")


@pytest.mark.parametrize("name", ["conv_plan", "explain_conv", "tune_conv"])
def test_plans_refuse_an_unknown_class(name):
    with pytest.raises(ValueError, match=f"{name}: {MESSAGE}"):
        getattr(F, name)(X.shape, K.shape, accuracy="exact")


def test_the_context_refuses_an_unknown_class():
    with pytest.raises(ValueError, match=f"conv_accuracy: {MESSAGE}"):
        conv_accuracy("exact")


@pytest.mark.parametrize(
    "name", ["Conv", "ConvTranspose", "SeparableConv", "TiledConv"]
)
def test_layers_refuse_an_unknown_class(name):
    with pytest.raises(ValueError, match=f"{name}: {MESSAGE}"):
        LAYERS[name](rngs=nnx.Rngs(0), accuracy="exact")


def test_an_empty_convolution_refuses_it_too():
    with pytest.raises(ValueError, match=f"convolve: {MESSAGE}"):
        F.convolve(jnp.ones((0, 3)), jnp.ones((1, 3)), axes=1, accuracy="exact")
