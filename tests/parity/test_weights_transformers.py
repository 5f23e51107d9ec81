"""Weights of transformers' ResNetForImageClassification, from folders and shards."""

import json
from functools import partial

import numpy as np
import pytest

from jaxnets import models
from jaxnets.interop import load_safetensors, save_safetensors
from tests.weights_helpers import assert_logits, blank, run, values

torch = pytest.importorskip("torch")
networks = pytest.importorskip("tests.parity.torch_networks")
pytestmark = [
    pytest.mark.torch,
    # Of transformers itself, while it is imported.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

BASIC = {"layer_type": "basic", "hidden_sizes": [8, 16], "depths": [1, 2]}
BOTTLENECK = {"layer_type": "bottleneck", "hidden_sizes": [32, 64], "depths": [2, 1]}
# transformers' options, and ours.
CASES = {
    "basic": (BASIC, {"depths": (1, 2)}),
    "bottleneck": (BOTTLENECK, {"depths": (2, 1), "bottleneck": True}),
    "stride in the first 1x1": (
        {**BOTTLENECK, "downsample_in_bottleneck": True},
        {"depths": (2, 1), "bottleneck": True, "stride_first": True},
    ),
}


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def make_theirs(transformers, options):
    config = transformers.ResNetConfig(embedding_size=8, num_labels=5, **options)
    model = transformers.ResNetForImageClassification(config)
    return networks.randomise(model, seed=0)


def make_ours(options):
    return blank(partial(models.ResNet, width=8, num_classes=5, **options))


@pytest.fixture
def saved(request, transformers, tmp_path):
    theirs, ours = CASES[request.param]
    network = make_theirs(transformers, theirs)
    network.save_pretrained(tmp_path / "one")
    network.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    return network, ours, tmp_path


@pytest.mark.parametrize("saved", CASES, indirect=True)
def test_logits_agree_from_a_folder(saved, rng):
    theirs, ours, folder = saved
    model = make_ours(ours)
    report = load_safetensors(model, folder / "one", source="transformers")
    assert not report.missing and not report.unexpected
    x = rng.normal(size=(2, 37, 37, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).logits
    assert_logits(run(model, x), wanted)


@pytest.mark.parametrize("saved", ["bottleneck"], indirect=True)
def test_shards_are_one_file_in_parts(saved):
    _, ours, folder = saved
    whole, parts = make_ours(ours), make_ours(ours)
    load_safetensors(whole, folder / "one", source="transformers")
    assert len(list((folder / "shards").glob("*.safetensors"))) > 2
    for path in ("shards", "shards/model.safetensors.index.json"):
        report = load_safetensors(parts, folder / path, source="transformers")
        assert "shards)" in report.file
        for name, value in values(whole).items():
            np.testing.assert_array_equal(values(parts)[name], value)


@pytest.mark.parametrize("saved", ["basic"], indirect=True)
def test_weights_come_back_through_from_pretrained(saved, transformers):
    theirs, ours, folder = saved
    model = make_ours(ours)
    load_safetensors(model, folder / "one", source="transformers")
    save_safetensors(model, folder / "one/model.safetensors", source="transformers")
    back = transformers.ResNetForImageClassification.from_pretrained(folder / "one")
    wanted = theirs.state_dict()
    for name, tensor in back.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, wanted[name]), name


@pytest.mark.parametrize("saved", ["stride in the first 1x1"], indirect=True)
def test_config_says_what_the_weights_do_not_show(saved):
    """The weights of both forms have the same names and shapes."""
    _, ours, folder = saved
    model = make_ours(ours | {"stride_first": False})
    with pytest.raises(ValueError, match=r"make it with stride_first=True"):
        load_safetensors(model, folder / "one", source="transformers")
    assert np.isnan(values(model)["head.kernel"]).all()
    config = json.loads((folder / "one/config.json").read_text())
    for change, rule in (
        ({"hidden_act": "gelu"}, "hidden_act='gelu'; the model has relu"),
        ({"downsample_in_first_stage": True}, "its first stage never strides"),
    ):
        (folder / "one/config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=rule):
            load_safetensors(make_ours(ours), folder / "one", source="transformers")


@pytest.mark.parametrize("saved", ["basic"], indirect=True)
def test_a_trunk_without_its_head(saved, transformers):
    """ResNetModel's names lack a prefix, which the message says how to add."""
    theirs, ours, folder = saved
    theirs.resnet.save_pretrained(folder / "trunk")
    model = make_ours(ours)
    options = {"source": "transformers", "skip_head": True}
    with pytest.raises(ValueError, match=r"rename=lambda name: 'resnet.' \+ name"):
        load_safetensors(model, folder / "trunk", **options)
    report = load_safetensors(
        model, folder / "trunk", **options, rename=lambda name: f"resnet.{name}"
    )
    assert set(report.excluded) == {"head.kernel", "head.bias"}
    wanted = theirs.resnet.embedder.embedder.convolution.weight.detach().numpy()
    got = values(model)["stem.conv.kernel"]
    np.testing.assert_array_equal(got, wanted.transpose(2, 3, 1, 0))
    assert np.isnan(values(model)["head.bias"]).all()
