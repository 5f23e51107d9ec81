"""Weights of a network of one's own; dtypes, devices, and where files are written."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnets import models, nn
from jaxnets.interop import load_safetensors, save_safetensors
from tests.helpers import assert_close
from tests.weights_helpers import assert_same, blank, draw, refused

files = pytest.importorskip("safetensors.numpy")

resnet = partial(models.ResNet, (1,), width=4, stem="small", num_classes=3)


@pytest.fixture
def model(rng):
    return draw(blank(resnet), rng)


class Scalar(nnx.Module):
    def __init__(self, *, rngs):
        self.value = nnx.Param(jnp.ones(()))


def test_scalars_stay_scalars(tmp_path):
    model = Scalar(rngs=nnx.Rngs(0))
    save_safetensors(model, tmp_path / "a.safetensors")
    other = blank(Scalar)
    load_safetensors(other, tmp_path / "a.safetensors", source="jaxnets")
    assert other.value.shape == () and float(other.value[...]) == 1


def test_half_precision_is_kept_in_files(rng, tmp_path):
    def make(rngs):
        return nn.Conv(3, 4, (3, 3), param_dtype=jnp.bfloat16, rngs=rngs)

    model = draw(blank(make), rng)
    save_safetensors(model, tmp_path / "a.safetensors", source="torchvision")
    assert files.load_file(tmp_path / "a.safetensors")["weight"].dtype == "bfloat16"
    other = blank(make)
    load_safetensors(other, tmp_path / "a.safetensors")
    assert_same(model, other)


def test_values_stay_where_the_model_s_are(model, tmp_path):
    save_safetensors(model, tmp_path / "a.safetensors")
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    other = blank(resnet)
    kernel = other.head.kernel
    kernel.set_value(jax.device_put(kernel[...], everywhere))
    load_safetensors(other, tmp_path / "a.safetensors", source="jaxnets")
    assert other.head.kernel[...].sharding == everywhere
    assert_same(model, other)


class Own(nnx.Module):
    """A user's network: its attributes have the names of a torch module's."""

    def __init__(self, *, rngs):
        self.conv = nn.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.LayerNorm(4, rngs=rngs)
        self.dense = nn.Dense(2 * 3 * 4, 5, rngs=rngs)


def test_a_network_of_one_s_own(rng, tmp_path):
    """Flattening goes channel by channel in torch, cell by cell here."""
    arrays = {
        "conv.weight": rng.normal(size=(4, 3, 3, 3)),
        "conv.bias": rng.normal(size=4),
        "norm.weight": rng.normal(size=4),
        "norm.bias": rng.normal(size=4),
        "dense.weight": rng.normal(size=(5, 24)),
        "dense.bias": rng.normal(size=5),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    path = tmp_path / "own.safetensors"
    files.save_file(arrays, path)
    model = blank(Own)
    load_safetensors(model, path, flattened={"dense": (2, 3)})
    y = rng.normal(size=(2, 3, 4)).astype(np.float32)  # rows, columns, channels
    wanted = (
        arrays["dense.weight"] @ y.transpose(2, 0, 1).ravel() + arrays["dense.bias"]
    )
    assert_close(model.dense(y.ravel()), wanted, tol=1e-5)
    save_safetensors(model, path, source="torchvision", flattened={"dense": (2, 3)})
    for name, array in files.load_file(path).items():
        np.testing.assert_array_equal(array, arrays[name])
    make = {"make": Own, "flattened": {"dense": (5, 5)}}
    refused(path, "the 24 inputs of the dense layer for 'dense.weight'", **make)
    refused(path, "skip_head is for the networks of", make=Own, skip_head=True)


def test_where_a_file_cannot_be_written(model, tmp_path):
    with pytest.raises(
        ValueError, match=r"must end in .safetensors for .*; got 'a.npz'"
    ):
        save_safetensors(model, tmp_path / "a.npz")
    with pytest.raises(
        ValueError,
        match=r"must end in .h5 for .*not in .weights.h5.* got 'a.weights.h5'",
    ):
        save_safetensors(model, tmp_path / "a.weights.h5", source="keras")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_safetensors(model, tmp_path / "no" / "a.safetensors")
