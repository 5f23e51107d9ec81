"""Where the native kernels are not: dtypes, axes, platforms, exports, wrong calls."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxnets import native
from jaxnets.functional import conv, conv_plan
from jaxnets.functional._conv_rule import Target, choose
from jaxnets.functional.conv_algorithms import PARTS
from tests.functional.conv_cases import make_problem
from tests.helpers import assert_close
from tests.native.native_cases import parts, tap_sums

needs_kernels = pytest.mark.skipif(
    native.missing() is not None, reason=f"native {native.missing()}"
)
SIZES = (2, (8, 7), (3, 3), 4, 6)
X, K = (2, 8, 7, 4), (3, 3, 4, 6)
CALL = "custom_call @jaxnets_conv"


def loss(x, kernel, algorithm="auto"):
    return jnp.sum(jnp.sin(conv(x, kernel, algorithm=algorithm)))


@needs_kernels
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int32"])
def test_other_dtypes_are_refused(dtype):
    with jax.enable_x64(True):
        x, kernel = jnp.zeros(X, dtype), jnp.zeros(K, dtype)
        message = rf"conv: algorithm 'native' needs float32; got {dtype} .*'auto' takes"
        with pytest.raises(ValueError, match=message):
            conv(x, kernel, algorithm="native")
        assert conv(x, kernel).dtype == dtype


@needs_kernels
def test_a_fourth_axis_is_refused():
    x, kernel = jnp.zeros((1, 3, 3, 3, 3, 2)), jnp.zeros((2, 2, 2, 2, 2, 2))
    message = "conv: algorithm 'native' needs at most 3 spatial axes; got 4 .*'auto'"
    with pytest.raises(ValueError, match=message):
        conv(x, kernel, algorithm="native")
    assert conv(x, kernel).shape == x.shape


def test_without_the_library_others_do_it(rng, monkeypatch):
    monkeypatch.setattr(
        native, "missing", lambda: "is switched off by JAXNETS_NATIVE=0"
    )
    problem = make_problem(rng, *SIZES, padding=1).single()
    with pytest.raises(
        ValueError, match=r"'native' is switched off by JAX.*'auto' take"
    ):
        conv(problem.x, problem.kernel, algorithm="native")
    with pytest.raises(RuntimeError, match=r"jaxnets\.native is switched off by JAXN"):
        native.instructions()
    assert "native" not in conv_plan(X, K, platform="cpu")[:3]
    y = conv(problem.x, problem.kernel)
    assert_close(y, tap_sums(problem)[0], dtype=jnp.float32, reduction=36)


def test_other_platforms_never_take_it():
    facts = conv_plan(X, K).facts
    for part in PARTS:
        for platform in ("cuda", "rocm", "tpu", "gpu", "abacus", ""):
            assert choose(part, facts, Target(platform)) != "native"
        assert choose(part, facts, Target("cpu", exported=True)) != "native"


@pytest.mark.parametrize("platforms", [("cuda",), ("tpu",), ("cpu", "cuda")])
def test_lowering_for_other_platforms(platforms):
    traced = jax.jit(jax.grad(loss, (0, 1))).trace(jnp.zeros(X), jnp.zeros(K))
    text = traced.lower(lowering_platforms=platforms).as_text()
    assert "cpu" in platforms or CALL not in text


@needs_kernels
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_native_on_other_platforms_is_refused(platform):
    message = rf"conv: algorithm 'native' runs on CPU alone; got platform '{platform}'"
    by_native = jax.jit(lambda x, k: loss(x, k, "native"))
    traced = by_native.trace(jnp.zeros(X), jnp.zeros(K))
    with pytest.raises(ValueError, match=message):
        traced.lower(lowering_platforms=(platform,))
    with pytest.raises(ValueError, match=message):
        export.export(by_native, platforms=[platform])(jnp.zeros(X), jnp.zeros(K))


@pytest.mark.parametrize("platforms", [None, ["cuda"], ["cpu", "cuda"]])
def test_exported_programs_call_nothing_of_ours(platforms, rng):
    problem = make_problem(rng, *SIZES, padding=1).single()
    arrays = problem[:2]
    both = jax.jit(lambda x, k: (conv(x, k), *jax.grad(loss, (0, 1))(x, k)))
    exported = export.export(both, platforms=platforms)(*arrays)
    assert CALL not in exported.mlir_module()
    assert exported.platforms == tuple(platforms or ["cpu"])
    if "cpu" in exported.platforms:
        check_program(exported.call, problem)
        # What is exported says nothing of programs that run here.
        check_program(both, problem)


def test_exported_programs_come_back_from_bytes(rng):
    pytest.importorskip("flatbuffers", reason="JAX writes exports by flatbuffers")
    problem = make_problem(rng, *SIZES, padding=1).single()
    both = jax.jit(lambda x, k: (conv(x, k), *jax.grad(loss, (0, 1))(x, k)))
    exported = export.export(both)(*problem[:2])
    check_program(export.deserialize(exported.serialize()).call, problem)


@needs_kernels
def test_exporting_native_by_name(rng):
    """JAX refuses calls that it does not know, unless it is told of them."""
    problem = make_problem(rng, *SIZES, padding=1).single()

    def run(x, k):
        return conv(x, k, algorithm="native"), *jax.grad(loss, (0, 1))(x, k, "native")

    with pytest.raises(ValueError, match="jaxnets_conv_"):
        export.export(jax.jit(run))(*problem[:2])
    known = [
        export.DisabledSafetyCheck.custom_call(f"jaxnets_conv_{part}") for part in PARTS
    ]
    exported = export.export(jax.jit(run), disabled_checks=known)(*problem[:2])
    assert CALL in exported.mlir_module()
    check_program(exported.call, problem)


def check_program(program, problem):
    y = tap_sums(problem)[0]
    _, dx, dk = tap_sums(problem._replace(g=np.cos(y)))
    wanted = y, dx, dk
    got = program(*problem[:2])
    assert_close(tuple(got), wanted, dtype=jnp.float32, reduction=54 * 112)


# Two groups of three inputs and two outputs each.
SHAPES = {"x": (1, 1, 5, 5, 6), "kernel": (1, 3, 3, 3, 4), "y": (1, 1, 3, 3, 4)}
ARRAYS = {
    "forward": ("x", "kernel", "y"),
    "input_grad": ("y", "kernel", "x"),
    "kernel_grad": ("x", "y", "kernel"),
}
WRONG = {
    "axes": ({"x": (1, 5, 5, 2)}, {}, "arrays must have five axes"),
    "numbers": ({}, {"strides": (1, 1)}, "one number for each of three axes"),
    "more numbers": ({}, {"lo": (0,) * 4}, "one number for each of three axes"),
    "no groups": ({}, {"groups": 0}, "groups must divide the channels"),
    "groups": ({}, {"groups": 4}, "groups must divide the channels"),
    "groups of outputs": ({"y": (1, 1, 3, 3, 3)}, {}, "groups must divide"),
    "fan-in": ({"kernel": (1, 3, 3, 1, 4)}, {}, "shapes do not belong together"),
    "outputs": ({"kernel": (1, 3, 3, 3, 6)}, {}, "shapes do not belong together"),
    "batch": ({"y": (2, 1, 3, 3, 4)}, {}, "shapes do not belong together"),
    "stride": ({}, {"strides": (1, 0, 1)}, "strides and dilation must be positive"),
    "dilation": ({}, {"dilation": (1, 1, -1)}, "strides and dilation must be positive"),
    "lengths": ({}, {"lengths": (4, 4)}, "a length for each of three axes"),
    "transforms of many channels": (
        {},
        {"lengths": (1, 2048, 2048)},
        "transforms: too long a transform for so many channels",
    ),
    "no images": (
        {"x": (0, 1, 5, 5, 6), "y": (0, 1, 3, 3, 4)},
        {},
        "arrays must not be empty",
    ),
    "no cells": ({"x": (1, 1, 0, 5, 6)}, {}, "arrays must not be empty"),
    "no taps": ({"kernel": (1, 0, 3, 3, 4)}, {}, "arrays must not be empty"),
    "no results": ({"y": (1, 1, 3, 0, 4)}, {}, "arrays must not be empty"),
    "no inputs": (
        {"x": (1, 1, 5, 5, 0), "kernel": (1, 3, 3, 0, 4)},
        {},
        "arrays must not be empty",
    ),
}


@needs_kernels
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_calls_are_refused(wrong, part):
    shapes, options, message = WRONG[wrong]
    shapes = SHAPES | shapes
    if 0 in shapes[ARRAYS[part][-1]]:
        pytest.skip("XLA leaves calls out whose results are empty")
    with pytest.raises(jax.errors.JaxRuntimeError, match=re.escape(message)):
        low_level(part, shapes, options)


DEPTHWISE = {"x": (1, 1, 5, 5, 2), "kernel": (1, 3, 3, 1, 2), "y": (1, 1, 3, 3, 2)}
WRONG_TILES = {
    "a stride": ({"strides": (1, 2, 1)}, (1, 8, 8), "strides of 1 are needed"),
    "too short": ({}, (1, 2, 8), "a window longer than the transform"),
    "nothing": ({}, (0, 0, 0), "a window longer than the transform"),
    "negative": ({}, (1, 8, -8), "a window longer than the transform"),
    "a factor of 5": ({}, (1, 8, 10), "other prime factors than 2 and 3"),
    "too many points": ({}, (1, 4096, 4096), "too long a transform"),
    "far too many points": ({}, (1 << 40, 1 << 40, 8), "too long a transform"),
}


@needs_kernels
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("wrong", WRONG_TILES)
def test_wrong_tiles_are_refused(wrong, part):
    options, lengths, message = WRONG_TILES[wrong]
    with pytest.raises(jax.errors.JaxRuntimeError, match=re.escape(message)):
        low_level(part, DEPTHWISE, options | {"lengths": lengths})


@needs_kernels
def test_wrong_dtypes_and_missing_options_are_refused():
    with pytest.raises(jax.errors.JaxRuntimeError, match="expected F32 but got BF16"):
        low_level("forward", SHAPES, {}, "bfloat16")
    with pytest.raises(jax.errors.JaxRuntimeError, match="number of attributes"):
        low_level("forward", SHAPES, {"groups": None})


@needs_kernels
def test_instructions_that_are_not_there_are_refused(rng):
    problem = make_problem(rng, *SIZES, padding=1).single()
    message = "this processor has no kernels for instructions sse9"
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        parts(problem, "sse9")


def low_level(part, shapes, options, dtype="float32"):
    """Call the kernels with whatever is given, two groups unless `options` differ."""
    one = (1, 1, 1)
    known = {"strides": one, "lo": (0, 0, 0), "dilation": one, "groups": 2}
    known |= {"lengths": (), "elementwise": 1}
    known = {n: v for n, v in (known | options).items() if v is not None}
    attributes = {n: np.array(v, np.int64)[()] for n, v in known.items()}
    a, b, result = (shapes[name] for name in ARRAYS[part])
    like = jax.ShapeDtypeStruct(result, dtype)
    run = jax.ffi.ffi_call(f"jaxnets_conv_{part}", like)
    jax.block_until_ready(
        run(jnp.ones(a, dtype), jnp.ones(b, dtype), **attributes, instructions="")
    )
