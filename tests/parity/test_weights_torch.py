"""Weights of torch's networks: the same logits, and the same weights back."""

from functools import partial

import numpy as np
import pytest
from flax import nnx

from jaxnets import models
from jaxnets.interop import load_safetensors, save_safetensors
from jaxnets.nn._conv_block import batch_norm
from tests.weights_helpers import assert_logits, blank, run

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
networks = pytest.importorskip("tests.parity.torch_networks")
googlenet = pytest.importorskip("tests.parity.torch_googlenet")
pytestmark = pytest.mark.torch

TINY = {"num_classes": 5}
WIDTHS = (6, 8, 10)
# Ours, theirs, the source of names, and the side of the image.
CASES = {
    "resnet18": (
        partial(models.create, "resnet18", width=8, **TINY),
        lambda: networks.ResNet((2, 2, 2, 2), width=8),
        "torchvision",
        64,
    ),
    "resnet50": (
        partial(models.create, "resnet50", width=64, depths=(1, 1), **TINY),
        lambda: networks.ResNet((1, 1), bottleneck=True),
        "torchvision",
        37,
    ),
    "resnext50_32x4d": (
        partial(models.create, "resnext50_32x4d", depths=(1, 1), **TINY),
        lambda: networks.ResNet((1, 1), bottleneck=True, groups=32, base=4),
        "torchvision",
        33,
    ),
    "wide_resnet50_2": (
        partial(models.create, "wide_resnet50_2", depths=(1, 1), **TINY),
        lambda: networks.ResNet((1, 1), bottleneck=True, base=128),
        "torchvision",
        33,
    ),
    "seresnet": (
        partial(models.create, "resnet18", width=16, depths=(1, 1), squeeze=4, **TINY),
        lambda: networks.ResNet((1, 1), width=16, squeeze=4),
        "timm",
        32,
    ),
    "alexnet": (
        partial(models.create, "alexnet", widths=(8, 12, 16, 10, 6), hidden=20, **TINY),
        networks.AlexNet,
        "torchvision",
        95,
    ),
    "vgg": (
        partial(models.VGG, (1, 2, 1), WIDTHS, hidden=20, **TINY),
        lambda: networks.VGG((1, 2, 1), WIDTHS),
        "torchvision",
        58,
    ),
    "vgg_bn": (
        partial(models.VGG, (1, 2, 1), WIDTHS, hidden=20, norm=batch_norm, **TINY),
        lambda: networks.VGG((1, 2, 1), WIDTHS, normalise=True),
        "torchvision",
        58,
    ),
    "vgg_timm": (
        partial(models.VGG, (1, 2, 1), WIDTHS, hidden=20, **TINY),
        lambda: networks.TimmVGG((1, 2, 1), WIDTHS),
        "timm",
        56,
    ),
    "lenet": (
        partial(models.create, "lenet5_modern"),
        networks.LeNet,
        "torchvision",
        28,
    ),
}


def image(rng, side, channels=3):
    return rng.normal(size=(2, side, side, channels)).astype(np.float32)


def theirs_on(network, x):
    with torch.no_grad():
        return network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))


def figures(model):
    """Epsilon, and the share of the old statistics that training keeps."""
    return {
        (norm.epsilon, norm.momentum)
        for _, norm in nnx.iter_graph(model)
        if isinstance(norm, nnx.BatchNorm)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_logits_agree_and_weights_come_back(name, rng, tmp_path):
    make, make_theirs, source, side = CASES[name]
    theirs = networks.randomise(make_theirs(), seed=0)
    safetensors.save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    model = blank(make)
    report = load_safetensors(model, tmp_path / "a.safetensors", source=source)
    assert not report.missing and not report.unexpected
    x = image(rng, side, 1 if name == "lenet" else 3)
    assert_logits(run(model, x), theirs_on(theirs, x))

    save_safetensors(model, tmp_path / "b.safetensors", source=source)
    back = safetensors.load_file(tmp_path / "b.safetensors")
    other = make_theirs()
    other.load_state_dict(back, strict=True)
    assert figures(model) == {
        (norm.eps, 1 - norm.momentum)
        for norm in theirs.modules()
        if isinstance(norm, torch.nn.BatchNorm2d)
    }
    for key, tensor in theirs.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(back[key], tensor), key


@pytest.mark.slow
def test_googlenet_with_its_auxiliary_heads(rng, tmp_path):
    """3x3 for 5x5, ceil_mode, three logits, and torchvision's transform_input."""
    theirs = networks.randomise(googlenet.GoogLeNet(), seed=0)
    path = tmp_path / "g.safetensors"
    safetensors.save_file(theirs.state_dict(), path)
    options = {"num_classes": 5, "transform_input": True}
    model = blank(partial(models.create, "googlenet", auxiliary=True, **options))
    report = load_safetensors(model, path)
    x = image(rng, 71)  # odd maps: ceil_mode takes one cell more
    wanted = theirs_on(theirs, x)
    assert figures(model) == {(1e-3, 1 - theirs.conv1.bn.momentum)}
    logits, extra = run(model, x, method="with_auxiliary")
    for got, want in zip((logits, *extra), wanted, strict=True):
        assert_logits(got, want)

    alone = blank(partial(models.create, "googlenet", **options))
    less = load_safetensors(alone, path)
    assert {n.split(".")[0] for n in less.ignored if "tracked" not in n} == {
        "aux1",
        "aux2",
    }
    assert len(less.loaded) == len(report.loaded) - 2 * 9
    assert_logits(run(alone, x), wanted[0])


def test_a_pth_is_read_with_weights_only(tmp_path, rng):
    theirs = networks.randomise(networks.LeNet(), seed=0)
    path = tmp_path / "lenet.pth"
    torch.save({"state_dict": theirs.state_dict(), "epoch": 3}, path)
    model = blank(partial(models.create, "lenet5_modern"))
    report = load_safetensors(model, path)
    assert "read by torch.load(weights_only=True)" in str(report)
    x = image(rng, 28, 1)
    assert_logits(run(model, x), theirs_on(theirs, x))


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pth_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    model = blank(partial(models.create, "lenet5_modern"))
    with pytest.raises(
        ValueError, match=r"not read by torch.load\(weights_only=True\)"
    ):
        load_safetensors(model, tmp_path / "evil.pth")
    assert "run" not in capsys.readouterr().out


def test_bfloat16_of_torch(tmp_path):
    """Both files: exact, as float32 holds all of bfloat16."""
    theirs = networks.randomise(networks.LeNet(), seed=0).to(torch.bfloat16)
    safetensors.save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        model = blank(partial(models.create, "lenet5_modern"))
        report = load_safetensors(model, tmp_path / name)
        assert report.loaded[0].dtype == "BF16"
        got = np.asarray(model.dense2.kernel[...])
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, theirs.fc2.weight.detach().float().numpy().T)
