"""load_safetensors and save_safetensors: what is loaded, reported and refused."""

from functools import partial

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from jaxnets import models
from jaxnets.interop import load_safetensors, save_safetensors
from tests.helpers import assert_close
from tests.weights_helpers import assert_same, blank, draw, refused, run, values

files = pytest.importorskip("safetensors.numpy")

SMALL = {"width": 4, "stem": "small"}
resnet = partial(models.ResNet, (2, 1), **SMALL, num_classes=3)


@pytest.fixture
def model(rng):
    return draw(blank(resnet), rng)


@pytest.fixture
def theirs(model, tmp_path):
    """A file with torchvision's names."""
    save_safetensors(model, tmp_path / "t.safetensors", source="torchvision")
    return tmp_path / "t.safetensors"


def change(path, update=(), remove=()):
    """Write the file again with other arrays in it."""
    arrays = files.load_file(path) | dict(update)
    for name in remove:
        del arrays[name]
    files.save_file(arrays, path)


@pytest.mark.parametrize("source", ["jaxnets", "torchvision", "timm", "transformers"])
def test_what_is_saved_is_loaded(model, source, tmp_path):
    save_safetensors(model, tmp_path / "a.safetensors", source=source)
    other = blank(resnet)
    report = load_safetensors(other, tmp_path / "a.safetensors", source=source)
    assert_same(model, other)
    assert len(report.loaded) == len(values(model))
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("make", "source"),
    [
        (models.LeNet5, "jaxnets"),
        (partial(models.VGG, (1,), (4,), hidden=6, pooled=3), "timm"),
        (partial(models.ResNet, (1, 1), **SMALL, preactivation=True), "jaxnets"),
    ],
)
def test_other_families_too(make, source, rng, tmp_path):
    model = draw(blank(make), rng)
    save_safetensors(model, tmp_path / "a.safetensors", source=source)
    other = blank(make)
    load_safetensors(other, tmp_path / "a.safetensors", source=source)
    assert_same(model, other)


def test_a_scanned_network_reads_what_an_unrolled_one_wrote(model, theirs, rng):
    """And the other way round: each block of the loop has names of its own."""
    scanned = blank(partial(resnet, scan=True))
    load_safetensors(scanned, theirs)
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    assert_close(run(scanned, x), run(model, x), tol=1e-5)
    save_safetensors(scanned, theirs, source="torchvision")
    other = blank(resnet)
    load_safetensors(other, theirs)
    assert_same(model, other)


def test_the_report_shows_the_mapping(model, theirs, capsys):
    report = load_safetensors(model, theirs, verbose=True)
    text = capsys.readouterr().out
    assert text == f"{report}\n"
    assert "t.safetensors (safetensors), names of torchvision" in text
    row = next(r for r in report.loaded if r.ours == "stages.1.0.project.kernel")
    assert row == (
        "stages.1.0.project.kernel",
        (1, 1, 4, 8),
        "layer2.0.downsample.0.weight",
        (8, 4, 1, 1),
        "F32",
        0,
    )
    assert "<- 'layer2.0.downsample.0.weight' (8, 4, 1, 1) F32" in text
    assert "ignored (8): 'bn1.num_batches_tracked'" in text


def test_the_report_counts_what_is_not_finite(theirs):
    kernel = np.zeros((3, 8))
    kernel[0, 1:4] = np.nan, np.inf, -np.inf
    change(theirs, {"fc.weight": kernel, "fc.bias": np.array([0, np.nan, 1])})
    report = load_safetensors(blank(resnet), theirs)
    assert report.not_finite == {"head.kernel": 3, "head.bias": 1}
    assert "NaN or infinite values: 'head.bias': 1, 'head.kernel': 3" in str(report)


def test_what_overflows_in_the_model_s_dtype_is_counted(tmp_path):
    def make(rngs):
        return nnx.Linear(2, 2, param_dtype=jnp.float16, rngs=rngs)

    weight = np.array([[1.0, 1e6], [-1e5, 65504]], np.float32)
    files.save_file({"weight": weight, "bias": np.ones(2)}, tmp_path / "a.safetensors")
    with pytest.warns(RuntimeWarning, match="overflow"):
        report = load_safetensors(blank(make), tmp_path / "a.safetensors")
    assert report.not_finite == {"kernel": 2}


def test_every_missing_and_unexpected_name_is_named(theirs):
    change(theirs, {"fc3.weight": np.ones((2, 2))}, ["fc.bias", "bn1.running_mean"])
    message = refused(
        theirs, "the names of the model and of the file do not fit", make=resnet
    )
    assert "head.bias (3,) <- 'fc.bias'" in message
    assert "stem.norm.mean (4,) <- 'bn1.running_mean'" in message
    assert "'fc3.weight' (2, 2)" in message and "strict=False" in message


def test_not_strict_leaves_what_does_not_fit(model, theirs):
    change(theirs, {"more": np.ones(2)}, ["fc.bias"])
    other = blank(resnet)
    report = load_safetensors(other, theirs, strict=False)
    assert report.missing == ("head.bias",)
    assert report.unexpected == ("more",)
    assert np.isnan(values(other)["head.bias"]).all()
    np.testing.assert_array_equal(
        values(other)["head.kernel"], values(model)["head.kernel"]
    )


def test_not_strict_still_needs_one_name_that_fits(tmp_path):
    files.save_file({"a": np.ones(3)}, tmp_path / "a.safetensors")
    refused(
        tmp_path / "a.safetensors", "is it another network", strict=False, make=resnet
    )


def test_another_number_of_classes(model, theirs):
    make = partial(models.ResNet, (2, 1), **SMALL, num_classes=7)
    message = refused(theirs, "the file is for 3 classes, the model for 7", make=make)
    assert "num_classes=3" in message and "skip_head=True" in message
    assert "head.kernel (8, 7) <- 'fc.weight' must have shape (7, 8)" in message
    refused(theirs, "the file is for 3 classes", make=make, strict=False)
    other = blank(make)
    report = load_safetensors(other, theirs, skip_head=True)
    assert set(report.excluded) == {"head.kernel", "head.bias"}
    assert np.isnan(values(other)["head.kernel"]).all()
    np.testing.assert_array_equal(
        values(other)["stem.conv.kernel"], values(model)["stem.conv.kernel"]
    )


def test_another_number_of_classes_in_our_own_file(model, tmp_path):
    save_safetensors(model, tmp_path / "a.safetensors")
    make = partial(models.ResNet, (2, 1), **SMALL, num_classes=7)
    path = tmp_path / "a.safetensors"
    refused(path, "the file is for 3 classes", make=make, source="jaxnets")


def test_a_network_without_a_head_takes_the_trunk(model, theirs):
    other = blank(partial(models.ResNet, (2, 1), **SMALL, num_classes=0))
    report = load_safetensors(other, theirs, skip_head=True)
    assert {"fc.weight", "fc.bias"} <= set(report.ignored) and not report.excluded


@pytest.mark.parametrize("pattern", ["head.*", "fc.*"])
def test_exclude_takes_our_names_and_theirs(model, theirs, pattern):
    other = blank(resnet)
    report = load_safetensors(other, theirs, exclude=[pattern])
    assert set(report.excluded) == {"head.kernel", "head.bias"}
    assert {"fc.weight", "fc.bias"} <= set(report.ignored)


def test_exclude_must_fit_something(theirs):
    refused(
        theirs,
        r"exclude has 'haed.\*', which fits no array",
        exclude=["haed.*"],
        make=resnet,
    )


@pytest.mark.usefixtures("untyped")
def test_exclude_is_no_string(theirs):
    refused(theirs, r"exclude=\['head'\]", error=TypeError, exclude="head", make=resnet)


def test_other_shapes(theirs):
    make = partial(models.ResNet, (2, 1), stem="small", width=8, num_classes=3)
    message = refused(theirs, "shapes in the file differ", make=make)
    wanted = "stem.conv.kernel (3, 3, 3, 8) <- 'conv1.weight' must have shape "
    assert wanted + "(8, 3, 3, 3); got (4, 3, 3, 3)" in message


def test_integers_are_no_weights(theirs):
    change(theirs, {"fc.bias": np.ones(3, np.int64)})
    refused(theirs, "'fc.bias' must hold floats", error=TypeError, make=resnet)


def test_an_unknown_source_or_a_family_that_it_lacks(theirs):
    refused(
        theirs,
        "source must be one of 'torchvision', 'timm'",
        source="flax",
        make=resnet,
    )
    vgg = partial(models.VGG, (1,), (4,), hidden=6, num_classes=3)
    message = "source 'transformers' has no VGG; it has ResNet"
    refused(theirs, message, source="transformers", make=vgg)
    with pytest.raises(ValueError, match=message):
        save_safetensors(blank(vgg), "a.safetensors", source="transformers")


def test_what_a_source_has_no_place_for(model, theirs, tmp_path):
    make = partial(resnet, preactivation=True)
    refused(theirs, "has no place for final_norm", make=make)
    with pytest.raises(ValueError, match="has no place for final_norm"):
        save_safetensors(blank(make), tmp_path / "b.safetensors", source="timm")
    assert not (tmp_path / "b.safetensors").exists()


def test_a_wrapper_s_prefix(model, theirs):
    """As DataParallel puts it in front of all names."""
    arrays = {f"module.{name}": a for name, a in files.load_file(theirs).items()}
    files.save_file(arrays, theirs)
    refused(
        theirs,
        r"rename=lambda name: name.removeprefix\('module.'\) would help",
        make=resnet,
    )
    other = blank(resnet)
    load_safetensors(other, theirs, rename=lambda name: name.removeprefix("module."))
    assert_same(model, other)
    refused(
        theirs, "rename gives 'x' to two arrays", rename=lambda name: "x", make=resnet
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_the_model_s(model, theirs, dtype):
    arrays = {
        name: a.astype(dtype) if a.ndim else a
        for name, a in files.load_file(theirs).items()
    }
    files.save_file(arrays, theirs)
    other = blank(resnet)
    load_safetensors(other, theirs)
    for name, value in values(model).items():
        got = values(other)[name]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, value.astype(dtype).astype(np.float32))
