"""The examples of networks: what they measure, and a few steps of each."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tyro
from flax import nnx

from jaxnets import models, train

ROOT = Path(__file__).parent.parent


@pytest.fixture
def example(monkeypatch):
    """Imports an example by name, as the interpreter finds what lies beside it."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


def results(run_dir: Path, *pictures: str) -> dict:
    """What a run wrote, once all its pictures are there."""
    for name in pictures:
        content = (run_dir / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG"), name
    return json.loads((run_dir / "results.json").read_text())


@pytest.mark.parametrize(
    "name", ["degradation", "receptive_fields", "transfer_learning"]
)
def test_the_header_and_the_help_say_what_there_is(example, name, capsys):
    module = example(name)
    assert f"python examples/{name}.py" in module.__doc__
    assert "on 2" in module.__doc__
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(module.Config, args=["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for option in module.Config.__dataclass_fields__:
        assert f"--{option.replace('_', '-')}" in shown, option


def test_shrunk_images_are_means_of_cells(example, rng):
    images = rng.normal(size=(2, 7, 6, 3)).astype(np.float32)
    found = example("images").shrink(images, 2)
    assert found.shape == (2, 3, 3, 3)
    for row, column in np.ndindex(3, 3):
        cell = images[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(found[:, row, column], cell.mean((1, 2)), atol=1e-6)
    with pytest.raises(ValueError, match="--shrink 8 leaves nothing of images of 7 x"):
        example("images").shrink(images, 8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "resnet"])
def test_the_probe_sees_what_the_gradient_of_the_whole_loss_is(example, kind, rng):
    probes, degradation = example("depth_probes"), example("degradation")
    model = degradation.make_model(kind, 8, degradation.Config(), 1)
    model.train()
    x = jnp.asarray(rng.normal(size=(4, 8, 8, 1)), jnp.float32)
    y = jnp.arange(4)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def loss(params):
        logits = nnx.merge(graph, params, rest)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    slopes = probes.kernels(jax.jit(jax.grad(loss))(params))
    found = probes.make_probe(model)(params, rest, x, y)
    wanted = [np.linalg.norm(slope) for slope in slopes]
    np.testing.assert_allclose(found["gradient"], wanted, rtol=1e-4)
    assert len(wanted) == 8 and found["ratio"].shape == (3,)
    if kind == "plain":
        assert not found["through_shortcut"].any() and not found["ratio"].any()
        return
    stem = model.stem(x)
    branch = model.stages[0][0].branch(stem)
    ratio = np.linalg.norm(branch) / np.linalg.norm(stem)
    np.testing.assert_allclose(found["ratio"][0], ratio, rtol=1e-4)
    assert (found["through_shortcut"] > 0).all()


@pytest.mark.slow
def test_degradation(example, tmp_path):
    degradation = example("degradation")
    config = degradation.Config(
        dataset="digits",
        run_dir=tmp_path,
        depths=(8,),
        train_size=70,
        test_size=32,
        shrink=4,
        epochs=2,
        batch_size=32,
        zero_init=True,
    )
    found = degradation.main(config)
    assert found == results(tmp_path, "errors", "layers", "blocks")
    plain, residual = found["networks"]
    assert [plain["network"], residual["network"]] == ["plain-8", "resnet-8"]
    for network in (plain, residual):
        assert network["steps"] == 4  # 70 images are two whole batches
        assert np.shape(network["gradient"]) == (3, 8)
        assert np.shape(network["speed"]) == (2, 8)
        assert np.shape(network["through_branch"]) == (3, 3)
        errors = np.array([network["train_error"], network["test_error"]])
        assert ((errors >= 0) & (errors <= 100)).all()
    # A branch whose last scale is 0 adds nothing at first, and something later.
    assert residual["ratio"][0] == [0, 0, 0]
    assert min(residual["ratio"][-1]) > 0
    with pytest.raises(SystemExit, match=r"holds an earlier run .*give --overwrite"):
        degradation.main(config)


def test_degradation_refuses_what_cannot_be(example):
    degradation = example("degradation")
    config = degradation.Config(dataset="digits", batch_size=64, train_size=60)
    with pytest.raises(ValueError, match="--batch-size 64 leaves no whole batch"):
        degradation.load(config)
    with pytest.raises(ValueError, match=r"6n \+ 2 with n at least 1; got 21"):
        degradation.make_model("plain", 21, config, 1)


def test_stages_move_at_rates_that_fall_from_the_head_down(example):
    """The first step of Adam moves every parameter by the rate, whatever the slope."""
    transfer = example("transfer_learning")
    config = transfer.Config(learning_rate=0.1, decay=0.5, weight_decay=0.0)
    one = {"kernel": jnp.ones(2)}
    params = {
        "head": one,
        "trunk": {"stem": {"conv": one}, "stages": {0: {0: one}, 1: {0: one}}},
    }
    tx = transfer.by_stage(config, 2)
    slopes = jax.tree.map(lambda p: 3 * p, params)
    updates, _ = tx.update(slopes, tx.init(params), params)
    moved = jax.tree.leaves(jax.tree.map(lambda u: -float(u[0]), updates))
    # head, stages 0 and 1, stem
    np.testing.assert_allclose(moved, [0.1, 0.025, 0.05, 0.0125], rtol=1e-4)


def small_classifier(parts, *, keep_averages):
    rngs = nnx.Rngs(0)
    trunk = models.ResNet(
        (1,), width=4, stem="small", in_features=1, num_classes=0, rngs=rngs
    )
    head = nnx.Linear(4, 2, rngs=rngs)
    return parts.Classifier(trunk, head, keep_averages=keep_averages)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_a_trunk_whose_averages_are_kept_keeps_them(example, keep, rng):
    model = small_classifier(example("transfer_parts"), keep_averages=keep)
    trainer = train.Trainer(
        model,
        optimizer=optax.sgd(0.1),
        loss=optax.softmax_cross_entropy_with_integer_labels,
    )
    before = [np.asarray(a) for a in jax.tree.leaves(nnx.state(model, nnx.BatchStat))]
    kernel = np.asarray(model.trunk.stem.conv.kernel[...])
    x = (3 + rng.normal(size=(8, 4, 4, 1))).astype(np.float32)
    trainer.fit(x, np.arange(8) % 2, batch_size=8, verbose=False)
    stats = nnx.state(trainer.model, nnx.BatchStat)
    same = [
        np.array_equal(a, b)
        for a, b in zip(before, jax.tree.leaves(stats), strict=True)
    ]
    assert all(same) if keep else not any(same)
    assert (np.asarray(trainer.model.trunk.stem.conv.kernel[...]) != kernel).any()


def test_a_share_of_the_labels_has_every_class(example, rng):
    part = example("transfer_parts").Part(
        np.arange(120)[:, None], np.repeat(np.arange(6), 20), range(3, 6)
    )
    assert sorted(set(part.y)) == [0, 1, 2] and part.x.min() == 60
    for share, each in ((0.001, 1), (0.1, 2), (1.0, 20)):
        known = part.labelled(share, rng)
        assert np.bincount(part.y[known]).tolist() == [each] * 3
        assert len(set(known)) == len(known)


def test_batches_go_through_few_examples_again_and_again(example, rng):
    x = np.arange(5)
    batches = list(example("transfer_parts").draws(x, 10 * x, 4, 4, rng))
    assert [len(x) for x, _ in batches] == [4] * 4
    seen = np.concatenate([x for x, _ in batches])
    assert sorted(seen[:5]) == sorted(seen[5:10]) == sorted(seen[10:15]) == list(x)
    assert all((y == 10 * x).all() for x, y in batches)


@pytest.mark.slow
def test_transfer_learning(example, tmp_path):
    transfer = example("transfer_learning")
    config = transfer.Config(
        run_dir=tmp_path,
        shares=(0.01, 1.0),
        seeds=(0,),
        shrink=4,
        trunk_steps=2,
        steps=2,
        batch_size=8,
    )
    found = transfer.main(config)
    assert found == results(tmp_path, "transfer")
    assert [row["labels"] for row in found["rows"]] == [5, 717]
    for row in found["rows"]:
        assert all(0 <= row[name] <= 1 for name in transfer.METHODS)
    # The trunk that it leaves serves the next run, which then finds the same.
    loaded = replace(
        config, weights=tmp_path / "trunk.safetensors", run_dir=tmp_path / "again"
    )
    again = transfer.main(loaded)
    assert again["rows"] == found["rows"]
    assert again["trunks"] == [{"seed": 0, "accuracy_on_its_classes": None}]


@pytest.mark.slow
def test_receptive_fields(example, tmp_path):
    fields = example("receptive_fields")
    config = fields.Config(
        networks=("resnet20_cifar",),
        size=24,
        stages=1,
        draws=2,
        seeds=2,
        run_dir=tmp_path,
    )
    found = fields.main(config)
    assert json.loads(json.dumps(found)) == results(tmp_path, "fields")
    (field,) = found["fields"]
    assert field["size"] == 15
    assert field["cells"] == ((5, 19), (5, 19))
    assert 3 < field["effective"] < 15


@pytest.mark.slow
def test_mnist_cnn_takes_networks_by_name(example, tmp_path):
    """LeNet-5 has frozen codes and a masked convolution."""
    mnist_cnn = example("mnist_cnn")
    config = mnist_cnn.Config(
        model="lenet5",
        run_dir=tmp_path,
        steps=2,
        batch_size=16,
        shift=2,
        cosine=True,
    )
    assert mnist_cnn.main(config)["model"] == "lenet5"
    with pytest.raises(ValueError, match="no network 'lenet6'"):
        mnist_cnn.network(mnist_cnn.Config(model="lenet6"), 10)
