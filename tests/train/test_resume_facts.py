"""What a resumed fit was given must be what it began with, or be allowed by name."""

import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import train
from tests.train.facts_networks import X, Y, fit, shrink, smooth, trainer
from tests.train.networks import assert_same_bits

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("facts") / "run"
    fit(trainer(), callbacks=[train.Checkpoint(directory, every_steps=3)])
    for name in ("epoch_0002", "step_00000006"):
        shutil.rmtree(directory / name)
    return directory


VALIDATION = ("validation data", "validation weights")
SCALE = "optimizer.scale.step_size"
ADAM = "optimizer.scale_by_adam"
DIFFERENCES = [
    ({"optimizer": optax.adam(2e-2)}, {}, SCALE, "-0.02", "-0.01"),
    ({"optimizer": optax.adam(1e-2, b1=0.8)}, {}, f"{ADAM}.b1", 0.8, 0.9),
    ({"optimizer": optax.adam(1e-2, eps=1e-7)}, {}, f"{ADAM}.eps", "1e-07", "1e-08"),
    ({"limit": shrink}, {}, "model.layers.0.kernel.constraint", "shrink", "clip"),
    ({"rate": 0.25}, {}, "model.layers.1.rate", 0.25, 0.5),
    ({"slope": 0.2}, {}, "model.layers.2", r".*slope=0.2\)", r".*slope=0.1\)"),
    ({"act": jax.nn.gelu}, {}, "model.layers.0.activation", "gelu", "relu"),
    (
        {"loss": functools.partial(smooth, strength=0.2)},
        {},
        "loss",
        r"partial\(function=smooth.*0.2\)",
        r"smooth\(strength=0.1\)",
    ),
    ({"augment": lambda key, x: x + 1}, {}, "augment", ".*lambda.*", "None"),
    ({"nonfinite": "skip"}, {}, "nonfinite", "skip", "stop"),
    (
        {"metrics": {"acc": train.top_k(2)}},
        {},
        "metrics.acc",
        "top_k.*k=2.*",
        "accuracy",
    ),
    ({}, {"y": np.roll(Y, 1)}, "data", ".*", r"float32\[32, 4\], int64\[32\] .*"),
    ({}, {"x": X * 0.5}, "data", ".*", ".*"),
    ({}, {"y": Y.astype(np.int32)}, "data", r".*int32\[32\].*", r".*int64\[32\].*"),
    ({}, {"y": np.append(Y[:32], Y[:31:-1])}, "validation data", ".*", ".*"),
    ({}, {"sample_weight": np.linspace(0, 1, 40)}, "weights", "float32.*", "None"),
    ({}, {"class_weight": {0: 2.0}}, "weights", "float32.*", "None"),
    ({}, {"batch_size": 4}, "batch_size", "4", "8"),
    ({}, {"shuffle": False}, "shuffle", "False", "True"),
]


@pytest.mark.parametrize(("options", "call", "name", "new", "old"), DIFFERENCES)
def test_a_difference_is_refused_by_name(run, options, call, name, new, old):
    message = rf"the {re.escape(name)} it began with; got {new}, the .* has {old}"
    changed = trainer(**options)
    before = jax.tree.map(jnp.copy, changed.state)
    with pytest.raises(ValueError, match=message) as caught:
        fit(changed, resume=run, **call)
    assert f"'{name}'" in str(caught.value).split("allow_changes=")[1]
    assert_same_bits(changed.state, before)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "call", "name", "new", "old"), DIFFERENCES)
def test_a_difference_is_allowed_by_name(run, caplog, options, call, name, new, old):
    for allowed in ([name], [name.split(".")[0]]):
        more = {"allow_changes": [*allowed, "data", *VALIDATION], **call}
        history = fit(trainer(**options), resume=run, epochs=3, **more)
        assert history.resumed.path == run / "epoch_0001"
        assert f"resume: {name} is " in caplog.text


def test_the_same_call_is_never_refused(run):
    for _ in range(2):
        assert fit(trainer(), resume=run).epochs == [1, 2]


@dataclasses.dataclass
class Config:
    """The options of a program, of which a loss uses one."""

    smoothing: float = 0.1
    resume: bool = False


@pytest.mark.parametrize("kind", ["closure", "method", "partial", "instance"])
def test_of_an_object_those_attributes_count_that_are_used(tmp_path, kind):
    class Loss:
        def __init__(self, config):
            self.config = config
            self.smoothing = config.smoothing
            self.resume = config.resume

        def __call__(self, outputs, targets):
            return smooth(outputs, targets, self.smoothing)

        def method(self, outputs, targets):
            return self(outputs, targets) + 0 * self.smoothing

    def with_config(outputs, targets, config):
        return smooth(outputs, targets, config.smoothing)

    def loss(config):
        def closure(outputs, targets):
            return smooth(outputs, targets, config.smoothing)

        return {
            "closure": closure,
            "method": Loss(config).method,
            "partial": functools.partial(with_config, config=config),
            "instance": Loss(config),
        }[kind]

    first = trainer(loss=loss(Config()))
    fit(first, callbacks=[train.Checkpoint(tmp_path)])
    assert fit(trainer(loss=loss(Config(resume=True))), resume=tmp_path).continues
    with pytest.raises(ValueError, match=r"the loss .*smoothing=0.2.* has .*=0.1"):
        fit(trainer(loss=loss(Config(smoothing=0.2))), resume=tmp_path)


def test_several_differences_are_listed_together(run):
    with pytest.raises(ValueError, match="a resumed fit needs") as caught:
        fit(trainer(optax.adam(1, b2=0.9), rate=0.1), resume=run, batch_size=4, x=X + 1)
    lines = str(caught.value).splitlines()
    assert [line.split(" it began")[0].strip() for line in lines[1:-1]] == [
        "the batch_size",
        "the data",
        "the validation data",
        "the model.layers.1.rate",
        "the optimizer.scale.step_size",
        "the optimizer.scale_by_adam.b2",
    ]
    assert lines[-1].startswith("(give what it began with, or name what may differ: ")


def test_an_optimizer_of_the_same_names_that_computes_something_else(run, tmp_path):
    def weighted(table):
        array = jnp.asarray(table)
        return optax.sgd(lambda step: array[step % len(array)])

    def clipped(limit):
        def update(updates, state, params=None):
            return jax.tree.map(lambda u: u.clip(-limits[0], limit), updates), state

        return optax.GradientTransformation(lambda params: optax.EmptyState(), update)

    limits = [1.0]
    first = trainer(optax.chain(clipped(1.0), weighted([0.1, 0.2])))
    fit(first, callbacks=[train.Checkpoint(tmp_path)])
    with pytest.raises(ValueError, match=r"the optimizer.*\.array it began with"):
        fit(trainer(optax.chain(clipped(1.0), weighted([0.1, 0.3]))), resume=tmp_path)
    limits[0] = 2.0
    again = trainer(optax.chain(clipped(1.0), weighted([0.1, 0.2])))
    with pytest.raises(ValueError, match=r"the optimizer\.update it began with"):
        fit(again, resume=tmp_path)


@pytest.mark.slow
def test_injected_hyperparameters_are_refused_or_taken_over(tmp_path):
    def make(rate):
        return trainer(optax.inject_hyperparams(optax.adam)(rate), limit=None)

    fit(make(0.1), callbacks=[train.Checkpoint(tmp_path)])
    name = "optimizer.inject_hyperparams.learning_rate"
    with pytest.raises(ValueError, match=rf"the {name} .* got 0.05, .* has 0.1"):
        fit(make(0.05), epochs=3, resume=tmp_path)
    history = fit(make(0.05), epochs=3, resume=tmp_path, allow_changes=name)
    np.testing.assert_allclose(history["learning_rate"], [0.1, 0.1, 0.05], rtol=1e-6)
    # One that a callback changed is no change of the optimizer, and stays.
    lower = make(0.1)
    fit(lower, callbacks=[train.Checkpoint(tmp_path / "lower"), halve])
    history = fit(make(0.1), epochs=3, resume=tmp_path / "lower")
    assert history["learning_rate"][-1] == np.float32(0.025)


def halve(trainer, logs):
    state = trainer.state
    rate = state.opt_state.hyperparams["learning_rate"] / 2
    hyperparams = {**state.opt_state.hyperparams, "learning_rate": rate}
    opt_state = state.opt_state._replace(hyperparams=hyperparams)
    trainer.set_state(state._replace(opt_state=opt_state))


def test_the_order_of_the_data_cannot_change_in_the_middle_of_an_epoch(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "epoch_0001")
    call = {"batch_size": 4, "allow_changes": "batch_size"}
    with pytest.raises(
        ValueError, match=r"middle of an epoch, needs\n.*the batch_size"
    ):
        fit(trainer(), resume=tmp_path / "run", **call)


def test_allow_changes_must_name_facts(run):
    with pytest.raises(ValueError, match=r"facts; got 'model.rate', there are data"):
        fit(trainer(), resume=run, allow_changes=["model.rate"])


def test_other_data_in_a_list_of_batches(tmp_path):
    batches = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]
    trainer().fit(batches, epochs=1, callbacks=[train.Checkpoint(tmp_path)])
    with pytest.raises(ValueError, match="the data it began with"):
        trainer().fit([(x, y[::-1]) for x, y in batches], epochs=2, resume=tmp_path)
    with pytest.raises(ValueError, match=r"the weights .* got \(0: 2.0\), .* None"):
        trainer().fit(batches, epochs=2, resume=tmp_path, class_weight={0: 2.0})
    assert len(trainer().fit(batches, epochs=2, resume=tmp_path)) == 2


@pytest.mark.slow
def test_the_facts_are_the_same_in_every_process():
    """Whatever the seed of hashes is, and however the program is started."""
    starts = [
        ["-m", "tests.train.facts_job"],
        ["-c", "import tests.train.facts_job as job; job.main()"],
    ]
    texts = [
        subprocess.run(
            [sys.executable, *start],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for start, seed in zip(starts, "12", strict=True)
    ]
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    fits = [facts for facts in found.values() if "optimizer" in facts]
    digests = {facts["optimizer"]["update"] for facts in fits}
    assert len(digests) == len(fits) == 11
