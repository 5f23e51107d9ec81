"""Arrays that a model shares, which files name once or several times."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from jaxnets import nn
from jaxnets.interop import load_safetensors, save_safetensors
from tests.weights_helpers import blank, draw, refused, values

files = pytest.importorskip("safetensors.numpy")


class SharedLayer(nnx.Module):
    """One layer under two names, and one inside of another module."""

    def __init__(self, *, rngs):
        self.first = nn.Dense(3, 3, rngs=rngs)
        self.last = self.first
        self.body = nnx.Sequential(self.first, jnp.tanh)
        self.out = nn.Dense(3, 2, rngs=rngs)


class SharedKernel(nnx.Module):
    """Two layers with one kernel and a bias each."""

    def __init__(self, *, rngs):
        self.first = nn.Dense(3, 3, rngs=rngs)
        self.last = nn.Dense(3, 3, rngs=rngs)
        self.last.kernel = self.first.kernel


class Loop(nnx.Module):
    """A layer that knows the module that holds it."""

    def __init__(self, *, rngs):
        self.dense = nn.Dense(2, 2, rngs=rngs)
        self.dense.owner = self


ALIASES = ("first", "last", "body.layers.0")


def state_dict(rng, names, kernel=None):
    """What torch writes for `SharedLayer`, with the shared layer under some names."""
    kernel = rng.normal(size=(3, 3)) if kernel is None else kernel
    arrays = {"out.weight": rng.normal(size=(2, 3)), "out.bias": np.ones(2)}
    for name in names:
        arrays |= {f"{name}.weight": kernel, f"{name}.bias": np.arange(3.0)}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write(kind, path, arrays):
    """Write torch's arrays into a file of some kind; its path and source."""
    if kind == "safetensors":
        files.save_file(arrays, path / "a.safetensors")
        return path / "a.safetensors", "torchvision"
    if kind == "pth":
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(a.copy()) for name, a in arrays.items()}
        for name in ("weight", "bias"):  # one tensor, as in a module that shares it
            if np.array_equal(arrays[f"first.{name}"], arrays[f"last.{name}"]):
                tensors[f"last.{name}"] = tensors[f"first.{name}"]
        torch.save(tensors, path / "a.pth")
        return path / "a.pth", "torchvision"
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "a.h5", "w") as file:
        for name, array in arrays.items():
            layer, role = name.rsplit(".", 1)
            kernel = role == "weight"
            place = f"{layer}/{layer}/{'kernel' if kernel else 'bias'}"
            file[place] = array.T if kernel else array
    return path / "a.h5", "keras"


KINDS = pytest.mark.parametrize("kind", ["safetensors", "pth", "h5"])


@KINDS
def test_equal_arrays_of_one_shared_layer_are_taken(kind, rng, tmp_path):
    arrays = state_dict(rng, ALIASES[:2])
    path, source = write(kind, tmp_path, arrays)
    model = blank(SharedLayer)
    report = load_safetensors(model, path, source=source)
    np.testing.assert_array_equal(model.first.kernel[...], arrays["first.weight"].T)
    np.testing.assert_array_equal(model.first.bias[...], arrays["last.bias"])
    assert model.last is model.first and model.body.layers[0] is model.first
    loaded = {row.ours for row in report.loaded}
    assert {"first.kernel", "last.kernel", "out.kernel"} < loaded
    assert not report.missing and not report.unexpected


@KINDS
def test_different_arrays_of_one_shared_layer_are_refused(kind, rng, tmp_path):
    arrays = state_dict(rng, ALIASES[:2])
    arrays["last.weight"] = arrays["last.weight"] + np.float32(1e-3)
    path, source = write(kind, tmp_path, arrays)
    theirs = "first/kernel" if kind == "h5" else "first.weight"
    message = f"first.kernel and last.kernel are one array of the model, so '{theirs}'"
    found = refused(path, message, make=SharedLayer, source=source)
    assert "they differ (exclude=['last" in found
    assert str(path) in found


def test_exclude_says_which_of_two_arrays_counts(rng, tmp_path):
    arrays = state_dict(rng, ("first",)) | state_dict(rng, ("last",))
    path, _ = write("safetensors", tmp_path, arrays)
    for left_out, taken in (("last", "first"), ("first", "last")):
        model = blank(SharedLayer)
        report = load_safetensors(model, path, exclude=[f"{left_out}.*"])
        kernel = arrays[f"{taken}.weight"].T
        np.testing.assert_array_equal(model.first.kernel[...], kernel)
        assert f"{left_out}.weight" in report.ignored and not report.excluded


@pytest.mark.parametrize("name", ALIASES)
def test_any_name_of_a_shared_layer_is_enough(name, rng, tmp_path):
    arrays = state_dict(rng, [name])
    path, _ = write("safetensors", tmp_path, arrays)
    model = blank(SharedLayer)
    report = load_safetensors(model, path)
    np.testing.assert_array_equal(model.last.kernel[...], arrays[f"{name}.weight"].T)
    assert len(report.loaded) == 4 and not report.missing


def test_a_shared_layer_that_the_file_lacks_is_named_once(rng, tmp_path):
    path, _ = write("safetensors", tmp_path, state_dict(rng, []))
    message = refused(path, "The file lacks", make=SharedLayer)
    assert message.count("(3, 3)") == 1
    model = SharedLayer(rngs=nnx.Rngs(0))
    report = load_safetensors(model, path, strict=False)
    assert report.missing == ("first.kernel", "first.bias")
    report = load_safetensors(model, path, exclude=["first.*", "last.*"])
    assert report.excluded == ("first.kernel", "first.bias")


def test_a_shared_param_with_different_values_is_refused(rng, tmp_path):
    """The value of the second name was taken without a word."""
    kernel = rng.normal(size=(3, 3)).astype(np.float32)
    biases = {"first.bias": np.zeros(3), "last.bias": np.ones(3)}
    both = {"first.weight": kernel, "last.weight": kernel}
    path, _ = write("safetensors", tmp_path, biases | both)
    model = blank(SharedKernel)
    load_safetensors(model, path)
    np.testing.assert_array_equal(model.last.kernel[...], kernel.T)
    np.testing.assert_array_equal(model.first.bias[...], np.zeros(3))
    np.testing.assert_array_equal(model.last.bias[...], np.ones(3))
    write("safetensors", tmp_path, biases | both | {"last.weight": kernel + 1})
    refused(path, "one array of the model", make=SharedKernel)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_equal_values_that_are_not_finite_are_equal(rng, dtype, tmp_path):
    arrays = state_dict(rng, ALIASES, np.full((3, 3), np.nan))
    arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    path, _ = write("safetensors", tmp_path, arrays)
    report = load_safetensors(blank(SharedLayer), path)
    assert report.not_finite == {f"{name}.kernel": 9 for name in ALIASES}


@pytest.mark.parametrize("make", [SharedLayer, SharedKernel, Loop])
@pytest.mark.parametrize("source", ["jaxnets", "torchvision", "keras"])
def test_what_is_saved_is_loaded(make, source, rng, tmp_path):
    # Attributes come in another order out of a merged model.
    model, other = draw(make(rngs=nnx.Rngs(0)), rng), blank(make)
    ending = "h5" if source == "keras" else "safetensors"
    path = tmp_path / f"a.{ending}"
    save_safetensors(model, path, source=source)
    load_safetensors(other, path, source=source)
    assert values(model).keys() == values(other).keys()
    for name, value in values(model).items():
        np.testing.assert_array_equal(values(other)[name], value, name)


def test_torch_reads_what_is_saved_of_a_shared_layer(rng, tmp_path):
    """Torch asks for each name, and `load_state_dict` is strict."""
    torch = pytest.importorskip("torch")
    model = draw(SharedLayer(rngs=nnx.Rngs(0)), rng)
    save_safetensors(model, tmp_path / "a.safetensors", source="torchvision")
    theirs = torch.nn.Module()
    theirs.first = theirs.last = torch.nn.Linear(3, 3)
    theirs.body = torch.nn.Module()
    theirs.body.layers = torch.nn.ModuleList([theirs.first])
    theirs.out = torch.nn.Linear(3, 2)
    arrays = files.load_file(tmp_path / "a.safetensors")
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    kernel = theirs.last.weight.detach().numpy().T
    np.testing.assert_array_equal(kernel, model.first.kernel[...])
    save_safetensors(model, tmp_path / "b.safetensors")
    assert sorted(files.load_file(tmp_path / "b.safetensors")) == [
        "first.bias", "first.kernel", "out.bias", "out.kernel"
    ]  # fmt: skip
