"""tune_conv: what it measures, what it takes, and the plan that it stores."""

import json
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional import _conv_plans as plans
from jaxnets.functional import _conv_tune, conv, conv_plan, tune_conv
from jaxnets.functional import use_plans as put_in_force
from jaxnets.functional.conv_algorithms import ALGORITHMS
from tests.functional.conv_algorithm_cases import present
from tests.functional.conv_plan_cases import ENTRY, SMALL


@pytest.fixture
def quick(monkeypatch):
    """Candidates that take no time to compile or run, and their names as measured."""
    seen = []

    def compiled(part, facts, algorithm):
        seen.append(algorithm)
        return lambda a, b: b

    monkeypatch.setattr(_conv_tune, "compiled", compiled)
    monkeypatch.setattr(_conv_tune, "draw", lambda part, facts: (None, None))
    return seen


@pytest.mark.slow
def test_tuning_returns_a_plan_that_runs(rng):
    options = {"strides": 2, "padding": ((1, 0),), "groups": 2}
    x, k = (2, 6, 4), (3, 2, 4)
    plan = tune_conv(x, k, rounds=1, **options)
    assert plan.facts == conv_plan(x, k, **options).facts
    assert set(plan[:3]) <= set(ALGORITHMS)
    arrays = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in (x, k)]
    y = conv(*arrays, algorithm=plan, **options)
    np.testing.assert_allclose(
        y, conv(*arrays, algorithm="direct", **options), atol=1e-4
    )
    with pytest.raises(ValueError, match="is a plan for x"):
        conv(*arrays, algorithm=plan, **options | {"strides": 1})


@pytest.mark.parametrize("held_up", [1, 2, 3])
def test_a_round_that_was_held_up_decides_nothing(held_up, monkeypatch):
    """With a clock that is turned on by every algorithm as it likes."""
    now = [0.0]
    costs = {"forward": "gemm", "input_grad": "shift", "kernel_grad": "direct"}
    rounds = {}

    def compiled(part, facts, algorithm):
        def run(a, b):
            rounds[part, algorithm] = n = rounds.get((part, algorithm), -1) + 1
            best = algorithm == costs[part]
            now[0] += (9.0 if n == held_up else 1.0) if best else 2.0
            return jnp.zeros(())

        return run

    monkeypatch.setattr(_conv_tune, "compiled", compiled)
    monkeypatch.setattr(_conv_tune, "draw", lambda part, facts: (None, None))
    monkeypatch.setattr(_conv_tune.time, "perf_counter", lambda: now[0])
    assert tune_conv(*SMALL, rounds=3)[:3] == tuple(costs.values())
    assert set(rounds.values()) == {3}


def test_tuning_measures_only_what_is_allowed(quick, monkeypatch):
    monkeypatch.setattr(_conv_tune, "HOPELESS", 1e9)
    tune_conv(*SMALL, rounds=1, precision="highest")
    exact = {"direct", "native", "gemm", "shift"}
    assert set(quick) == exact & set(present())
    with jax.default_matmul_precision("default"):
        quick.clear()
        tune_conv(*SMALL, rounds=1)
        assert set(quick) == exact & set(present())
        relaxed = {"accuracy": "relaxed"}
        tune_conv(*SMALL, rounds=1, **relaxed)
        assert set(quick) == set(present())
        quick.clear()
        monkeypatch.setattr(_conv_tune, "HOPELESS", 1)
        tune_conv(*SMALL, rounds=1, **relaxed)
        assert quick == list(conv_plan(*SMALL, **relaxed)[:3])


def test_tuning_refuses(tmp_path):
    with pytest.raises(TypeError, match="tune_conv: dtype must be floating; got int32"):
        tune_conv(*SMALL, dtype="int32")
    with pytest.raises(ValueError, match="tune_conv: rounds must be at least 1; got 0"):
        tune_conv(*SMALL, rounds=0)
    with pytest.raises(ValueError, match="tune_conv: kernel has 4 input channels"):
        tune_conv((2, 8, 8, 3), (3, 3, 4, 6))


def test_an_unusable_path_is_refused_before_measuring(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("measured")

    monkeypatch.setattr(_conv_tune, "measure", never)
    foreign = tmp_path / "foreign.json"
    foreign.write_text("{}")
    with pytest.raises(ValueError, match=r"foreign\.json is not a file of jaxnets"):
        tune_conv(*SMALL, rounds=1, path=foreign)
    assert foreign.read_text() == "{}"


@pytest.mark.usefixtures("quick")
def test_a_stored_plan_comes_into_force(tmp_path):
    path = tmp_path / "plans.json"
    plan = tune_conv(*SMALL, rounds=1, path=path)
    with put_in_force(path):
        assert conv_plan(*SMALL) == plan
    assert os.listdir(tmp_path) == ["plans.json"]
    # Another tuning of it takes its place; that of another one stands beside it.
    tune_conv(*SMALL, rounds=1, path=path)
    other = tune_conv(*SMALL, strides=2, rounds=1, path=path)
    tuned = plans.load_plans(path)
    assert [one.facts for one in tuned] == [
        unstrict(plan.facts),
        unstrict(other.facts),
    ]
    assert {one.platform for one in tuned} == {jax.default_backend()}


def unstrict(facts):
    """The file says nothing of precision."""
    return facts._replace(spec=facts.spec._replace(precision=None))


@pytest.mark.usefixtures("quick")
def test_an_empty_convolution_is_not_measured(tmp_path):
    path = tmp_path / "plans.json"
    with pytest.raises(ValueError, match=r"nothing to measure.*x_shape=\(0, 8, 8, 2\)"):
        tune_conv((0, 8, 8, 2), (3, 3, 2, 2), rounds=1, path=path)
    assert not path.exists()


@pytest.mark.usefixtures("quick")
def test_the_file_is_plain_json(tmp_path):
    path = tmp_path / "plans.json"
    tune_conv(*SMALL, rounds=1, path=path)
    content = json.loads(path.read_text())
    assert content["version"] == 1
    (entry,) = content["plans"]
    assert entry | dict.fromkeys(("forward", "input_grad", "kernel_grad")) == (
        ENTRY | dict.fromkeys(("forward", "input_grad", "kernel_grad"))
    )
    assert re.fullmatch(r"(?s)\{\n.*\}\n", path.read_text())
