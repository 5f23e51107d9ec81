"""Weights of keras.applications: the same logits, and the same weights back."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

from jaxnets import models
from jaxnets.interop import load_safetensors, save_safetensors
from tests.weights_helpers import assert_logits, blank, draw, run, values

# Of Keras's own variables, on their way to NumPy; and of its older files.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
pytest.importorskip("h5py")


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    # Keras counts on promotion of ranks; we do without.
    with jax.numpy_rank_promotion("allow"):
        yield pytest.importorskip("keras")


def randomise(network, rng):
    """Weights that keep the size of signals, and statistics that are no defaults."""
    new = []
    for weight in network.weights:
        value = 0.2 * rng.normal(size=weight.shape)
        if weight.name == "kernel":
            value *= 5 * np.sqrt(2 / np.prod(weight.shape[:-1]))
        elif weight.name in ("gamma", "moving_variance"):
            value = np.exp(value)
        new.append(value.astype(np.float32))
    network.set_weights(new)


def compare(model, theirs, rng, side):
    x = rng.normal(size=(2, side, side, 3)).astype(np.float32)
    predict = jax.jit(lambda x: theirs(x, training=False))
    assert_logits(run(model, x), predict(x))


def make_resnet(keras, classes=5):
    """keras.applications.ResNet50's own parts, with fewer blocks."""
    from keras.src.applications import resnet

    def stages(x):
        x = resnet.stack_residual_blocks_v1(x, 64, 2, stride1=1, name="conv2")
        return resnet.stack_residual_blocks_v1(x, 128, 1, name="conv3")

    return resnet.ResNet(
        stages,
        preact=False,
        use_bias=True,
        weights=None,
        input_shape=(64, 64, 3),
        classes=classes,
        classifier_activation=None,
        name="short",
    )


def ours(depths=(2, 1)):
    make = partial(models.create, "resnet50_keras", depths=depths, num_classes=5)
    return blank(make)


@pytest.mark.slow
def test_short_resnet_there_and_back(keras, rng, tmp_path):
    """Biases, epsilon, the stride in the first 1x1; `.h5` is found by name."""
    theirs = make_resnet(keras)
    randomise(theirs, rng)
    theirs.save_weights(tmp_path / "a.weights.h5")
    model = ours()
    report = load_safetensors(model, tmp_path / "a.weights.h5", source="keras")
    assert not report.missing and not report.unexpected
    pairs = {row.ours: (row.theirs, row.dtype) for row in report.loaded}
    assert pairs["stem.conv.kernel"] == ("conv1_conv/kernel", "F32")
    compare(model, theirs, rng, 64)
    norm = theirs.get_layer("conv1_bn")
    wanted = (norm.epsilon, norm.momentum)
    assert (model.stem.norm.epsilon, model.stem.norm.momentum) == wanted

    save_safetensors(model, tmp_path / "b.h5", source="keras")
    other = make_resnet(keras)
    other.load_weights(tmp_path / "b.h5", by_name=True)
    for got, wanted in zip(other.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted), got.path)
    again = ours()
    load_safetensors(again, tmp_path / "b.h5", source="keras")
    for name, value in values(model).items():
        np.testing.assert_array_equal(values(again)[name], value)


@pytest.mark.slow
def test_resnet50(keras, rng, tmp_path):
    theirs = keras.applications.ResNet50(
        weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None
    )
    randomise(theirs, rng)
    theirs.save_weights(tmp_path / "a.weights.h5")
    model = ours((3, 4, 6, 3))
    load_safetensors(model, tmp_path / "a.weights.h5", source="keras")
    compare(model, theirs, rng, 64)


@pytest.mark.slow
def test_vgg16(keras, rng, tmp_path):
    """The last map of a 64x64 image has 2x2 cells, and Keras flattens them as they are.

    float32 sums of thousands: the figure is that of all families, 1e-4.
    """
    theirs = keras.applications.VGG16(
        weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None
    )
    randomise(theirs, rng)
    theirs.save_weights(tmp_path / "v.weights.h5")
    model = blank(partial(models.create, "vgg16", pooled=2, num_classes=5))
    load_safetensors(model, tmp_path / "v.weights.h5", source="keras")
    compare(model, theirs, rng, 64)


def test_biases_that_the_model_lacks(keras, tmp_path):
    """keras.applications' ResNet into torchvision's: the message names the preset."""
    make_resnet(keras).save_weights(tmp_path / "a.weights.h5")
    make = partial(models.create, "resnet50", depths=(2, 1), num_classes=5)
    with pytest.raises(ValueError, match=r"models.create\('resnet50_keras'\)"):
        load_safetensors(blank(make), tmp_path / "a.weights.h5", source="keras")


def test_a_whole_keras_model_in_h5(keras, rng, tmp_path):
    """Its layers stand under `model_weights`, and the optimizer's state beside them."""
    theirs = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(4, name="one")]
    )
    theirs.compile("adam", "mse")
    randomise(theirs, rng)
    theirs.save(tmp_path / "whole.h5")

    class Own(nnx.Module):
        def __init__(self, rngs):
            self.one = nnx.Linear(6, 4, rngs=rngs)

    model = Own(nnx.Rngs(0))
    load_safetensors(model, tmp_path / "whole.h5", source="keras")
    np.testing.assert_array_equal(
        values(model)["one.kernel"], np.asarray(theirs.layers[0].kernel)
    )


@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 33])
def test_asymmetric_padding(keras, rng, side, tmp_path):
    """padding="same" pads one cell less in front where it strides; torch does not."""
    layers = keras.layers
    x = image = layers.Input((side, side, 3))

    def conv_norm(x, features, window, strides, name):
        conv = layers.Conv2D(
            features,
            window,
            strides,
            padding="same",
            use_bias=False,
            name=f"{name}conv",
        )
        norm = layers.BatchNormalization(epsilon=1e-5, name=f"{name}bn")
        return norm(conv(x))

    x = layers.ReLU()(conv_norm(x, 8, 7, 2, "conv1_"))
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for stage, features, strides in ((2, 8, 1), (3, 16, 2)):
        name = f"conv{stage}_block1_"
        y = layers.ReLU()(conv_norm(x, features, 3, strides, f"{name}1_"))
        y = conv_norm(y, features, 3, 1, f"{name}2_")
        if strides > 1:
            x = conv_norm(x, features, 1, strides, f"{name}0_")
        x = layers.ReLU()(x + y)
    x = layers.GlobalAveragePooling2D()(x)
    theirs = keras.Model(image, layers.Dense(5, name="predictions")(x))
    randomise(theirs, rng)
    theirs.save_weights(tmp_path / "a.weights.h5")
    model, centred = (
        blank(partial(models.ResNet, (1, 1), width=8, num_classes=5, padding=padding))
        for padding in ("SAME", None)
    )
    for network in (model, centred):
        load_safetensors(network, tmp_path / "a.weights.h5", source="keras")
    compare(model, theirs, rng, side)
    # The other padding is another network on even sizes; on odd ones there is none.
    x = rng.normal(size=(2, side, side, 3)).astype(np.float32)
    gap = np.abs(run(model, x) - run(centred, x)).max()
    assert (gap > 1e-2) == (side % 2 == 0)


def test_our_own_h5_is_read_again(rng, tmp_path):
    model = draw(blank(partial(models.VGG, (1,), (4,), hidden=6, num_classes=3)), rng)
    save_safetensors(model, tmp_path / "v.h5", source="keras")
    other = blank(partial(models.VGG, (1,), (4,), hidden=6, num_classes=3))
    load_safetensors(other, tmp_path / "v.h5", source="keras")
    for name, value in values(model).items():
        np.testing.assert_array_equal(values(other)[name], value)
