"""Files of measured plans, and the plans in force."""

import os

import jax
import jax.numpy as jnp
import pytest

from jaxnets.functional import ConvPlan, conv, conv_accuracy, conv_plan, explain_conv
from jaxnets.functional import _conv_plans as plans
from jaxnets.functional import use_plans as put_in_force
from tests.functional.conv_plan_cases import ENTRY, SMALL, damaged, named, write


@pytest.fixture(autouse=True)
def no_plans_before_or_after():
    put_in_force(None)
    yield
    put_in_force(None)


@pytest.fixture
def stored(tmp_path):
    """A file that holds a plan which the rule would not take."""
    path = write(tmp_path / "plans.json", ENTRY)
    assert conv_plan(*SMALL)[:3] != named(ENTRY)
    return path


def test_storing_again_replaces(tmp_path):
    path = write(tmp_path / "plans.json", ENTRY, ENTRY | {"batch": 3})
    old = plans.load_plans(path)
    new = old[0]._replace(plan=ConvPlan("gemm", "gemm", "direct", old[0].facts))
    plans.store_plan(path, new)
    assert sorted(plans.load_plans(path)) == sorted([old[1], new])
    elsewhere = new._replace(platform="gpu")
    plans.store_plan(path, elsewhere)
    assert sorted(plans.load_plans(path)) == sorted([old[1], new, elsewhere])


@pytest.mark.parametrize("fails", ["replace", "write"])
def test_a_failed_write_leaves_the_old_file(fails, stored, monkeypatch):
    before = stored.read_bytes()
    one = plans.load_plans(stored)[0]

    def fail(*_, **__):
        raise OSError("disk full")

    if fails == "replace":
        monkeypatch.setattr(plans.os, "replace", fail)
    else:
        monkeypatch.setattr(plans.json, "dumps", fail)
    with pytest.raises(OSError, match="disk full"):
        plans.store_plan(stored, one._replace(platform="gpu"))
    assert stored.read_bytes() == before
    assert os.listdir(stored.parent) == [stored.name]


def test_a_stored_file_may_be_read_by_whom_other_files_may(tmp_path):
    (tmp_path / "other").write_text("")
    path = write(tmp_path / "plans.json", ENTRY)
    plans.store_plan(tmp_path / "new.json", plans.load_plans(path)[0])
    modes = {p.name: p.stat().st_mode for p in tmp_path.iterdir()}
    assert modes["new.json"] == modes["other"]


def test_plans_in_force_and_out_again(stored):
    rule = conv_plan(*SMALL)
    put_in_force(stored)
    assert conv_plan(*SMALL)[:3] == named(ENTRY)
    assert conv_plan(*SMALL, strides=2)[:3] == conv_plan(*SMALL, strides=2)[:3]
    assert conv_plan(*SMALL, platform="gpu")[:3] == ("direct",) * 3
    for part, line in zip(("forward", "kernel_grad"), ("shift", "gemm"), strict=True):
        assert getattr(explain_conv(*SMALL).plan, part) == line
    assert "shift: measured by tune_conv; the plan is in force" in str(
        explain_conv(*SMALL)
    )
    put_in_force(None)
    assert conv_plan(*SMALL) == rule


def test_a_block_puts_back_what_was_there(stored, tmp_path):
    rule = conv_plan(*SMALL)
    other = write(tmp_path / "other.json", ENTRY | {"forward": "gemm"})
    with put_in_force(stored):
        assert conv_plan(*SMALL).forward == "shift"
        with put_in_force(other):
            assert conv_plan(*SMALL).forward == "gemm"
            with put_in_force(None):
                assert conv_plan(*SMALL) == rule
            assert conv_plan(*SMALL).forward == "gemm"
        assert conv_plan(*SMALL).forward == "shift"
        with pytest.raises(KeyError, match="theirs"), put_in_force(other):
            raise KeyError("theirs")
        assert conv_plan(*SMALL).forward == "shift"
        with pytest.raises(FileNotFoundError):
            put_in_force(tmp_path / "missing.json")
        assert conv_plan(*SMALL).forward == "shift"
    assert conv_plan(*SMALL) == rule


def test_a_block_may_be_entered_again(stored):
    block = put_in_force(stored)
    for _ in range(2):
        with block:
            assert conv_plan(*SMALL)[:3] == named(ENTRY)


def test_precision_highest_goes_before_a_measured_plan(tmp_path):
    """Measured where rounding more was allowed, it says nothing of where it is not."""
    names = {"forward": "winograd", "input_grad": "fft", "kernel_grad": "shift"}
    path = write(tmp_path / "plans.json", ENTRY | names)
    relaxed = {"accuracy": "relaxed"}
    with jax.default_matmul_precision("default"), put_in_force(path):
        assert conv_plan(*SMALL, **relaxed)[:3] == named(names)
        strict = conv_plan(*SMALL, precision="highest", **relaxed)
        assert not {"winograd", "fft", "overlap_add"} & set(strict[:3])


def test_a_measured_plan_is_passed_over_where_its_errors_are_too_large(tmp_path):
    names = {"forward": "winograd", "input_grad": "fft", "kernel_grad": "shift"}
    path = write(tmp_path / "plans.json", ENTRY | names)
    with jax.default_matmul_precision("default"):
        rule = conv_plan(*SMALL)
        with put_in_force(path):
            assert conv_plan(*SMALL)[:3] == (rule.forward, rule.input_grad, "shift")
            why = str(explain_conv(*SMALL)).split("\n\n")
            taken = [block.splitlines()[-1] for block in why[1:]]
            assert taken[0].startswith(f"  {rule.forward}: fewest estimated seconds")
            assert taken[2] == "  shift: measured by tune_conv; the plan is in force"
            with conv_accuracy("relaxed"):
                assert conv_plan(*SMALL)[:3] == named(names)


def test_functions_already_compiled_are_traced_again(stored, rng):
    arrays = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in SMALL]
    traces = []

    @jax.jit
    def gradient(x, k):
        traces.append(None)
        return jax.grad(lambda x, k: jnp.sum(jnp.sin(conv(x, k))), (0, 1))(x, k)

    def convolutions():
        return gradient.lower(*arrays).as_text().count("stablehlo.convolution")

    def run():
        traces.clear()
        gradient(*arrays)
        return len(traces)

    by_rule = [*conv_plan(*SMALL)[:3]].count("direct")
    assert (run(), run(), convolutions()) == (1, 0, by_rule)
    names = {"forward": "direct", "input_grad": "direct", "kernel_grad": "direct"}
    with put_in_force(write(stored.parent / "direct.json", ENTRY | names)):
        assert (run(), run(), convolutions()) == (1, 0, 3)
        with put_in_force(stored):
            assert (run(), convolutions()) == (1, 1)
    run()
    assert convolutions() == by_rule


def test_an_explicit_algorithm_goes_before_a_measured_plan(stored, rng):
    arrays = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in SMALL]
    run = jax.jit(lambda x, k: conv(x, k, algorithm="direct"))
    with put_in_force(stored):
        assert "stablehlo.convolution" in run.lower(*arrays).as_text()


def test_auto_in_a_file_goes_by_the_rule(tmp_path):
    rule = conv_plan(*SMALL)
    path = write(tmp_path / "plans.json", ENTRY | {"forward": "auto"})
    with put_in_force(path):
        assert conv_plan(*SMALL)[:3] == (rule.forward, "direct", "gemm")


@pytest.mark.parametrize("damage", damaged())
def test_a_damaged_file_is_refused_and_changes_nothing(damage, stored):
    put_in_force(stored)
    content, message = damaged()[damage]
    path = stored.parent / "damaged.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="(?s)use_plans: .*damaged.json.*" + message):
        put_in_force(path)
    assert conv_plan(*SMALL)[:3] == named(ENTRY)


def test_an_oversized_file_is_not_even_read(tmp_path, monkeypatch):
    path = write(tmp_path / "plans.json", ENTRY)
    size = path.stat().st_size
    monkeypatch.setattr(plans, "MOST_BYTES", size - 1)
    with pytest.raises(ValueError, match=f"has {size} bytes, more than the {size - 1}"):
        put_in_force(path)
