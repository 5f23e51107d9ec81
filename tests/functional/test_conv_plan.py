"""The plan of a convolution: the rule, and what a ConvPlan does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxnets.functional import (
    ConvPlan,
    conv,
    conv_input_grad,
    conv_kernel_grad,
    conv_plan,
    explain_conv,
)
from jaxnets.functional._conv_explain import conv_facts
from jaxnets.functional._conv_rule import Target, choose
from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS
from tests.functional.conv_algorithm_cases import skip_without_kernels, some_slow
from tests.functional.conv_cases import conv_cases
from tests.functional.conv_plan_cases import LAYERS, LONG, SMALL

PLATFORMS = ("cpu", "gpu", "tpu")


@pytest.fixture
def plain_precision():
    """The precision that users have: the suite's own rules out what rounds more."""
    with jax.default_matmul_precision("default"):
        yield


@pytest.fixture
def ran(monkeypatch):
    """Names and parts of the algorithms that are traced, in order."""
    calls = []

    def spy(name, part):
        run = getattr(ALGORITHMS[name], part)

        def recorded(*args):
            calls.append((part, name))
            return run(*args)

        return recorded

    for name in ALGORITHMS:
        for part in PARTS:
            monkeypatch.setattr(ALGORITHMS[name], part, spy(name, part))
    jax.clear_caches()
    yield calls
    jax.clear_caches()


def parts_that_ran(calls):
    """What was lowered: shapes are found by `direct`, which every bind traces first."""
    found = {part: [n for p, n in calls if p == part] for part in PARTS}
    return {part: names for part, names in found.items() if names}


def loss(x, kernel, **options):
    return jnp.sum(jnp.sin(conv(x, kernel, **options)))


def test_a_plan_is_a_pure_function_of_its_arguments(rng):
    before = [conv_plan(x, k, platform="cpu", **o) for x, k, o in LAYERS]
    x, k = rng.normal(size=SMALL[0]), rng.normal(size=SMALL[1])
    jax.jit(jax.grad(loss, (0, 1)))(x, k)
    assert [conv_plan(x, k, platform="cpu", **o) for x, k, o in LAYERS] == before
    assert conv_plan(*SMALL) == conv_plan(*SMALL, platform=jax.default_backend())
    assert hash(before[0]) == hash(conv_plan(*LAYERS[0][:2], platform="cpu"))


@settings(max_examples=60)
@given(st.data())
def test_a_plan_names_algorithms_that_can(data):
    case = data.draw(conv_cases(data.draw(st.integers(1, 4))))
    sizes = ("strides", "padding", "dilation", "groups")
    options = {name: case.options[name] for name in sizes}
    x, rank = case.x.shape, case.kernel.ndim - 2
    if case.options["data_format"] == "channels_first":
        x = (*x[: -rank - 1], *x[-rank:], x[-rank - 1])
    dtype = data.draw(st.sampled_from(["float32", "bfloat16", "int32", "complex64"]))
    platform = data.draw(st.sampled_from(PLATFORMS))
    options["accuracy"] = data.draw(st.sampled_from(["elementwise", "relaxed"]))
    with jax.default_matmul_precision("default"):
        plan = conv_plan(
            x, case.kernel.shape, dtype=dtype, platform=platform, **options
        )
    assert plan.facts is not None
    assert plan.facts.batch == np.prod(x[: -rank - 1])
    assert plan.facts.dtype == dtype
    for part in PARTS:
        name = getattr(plan, part)
        assert name in ALGORITHMS
        assert ALGORITHMS[name].unsupported(plan.facts) is None


@pytest.mark.usefixtures("plain_precision")
@pytest.mark.parametrize(
    "precision",
    ["highest", "float32", lax.Precision.HIGHEST, ("highest", "highest")],
)
def test_highest_precision_rules_out_what_rounds_more(precision):
    def by_transforms(candidate):
        names = {"fft", "overlap_add", "winograd"}
        return candidate.algorithm in names or candidate.work.kind == "transforms"

    relaxed = {"platform": "cpu", "accuracy": "relaxed"}
    for found in explain_conv(*LONG, **relaxed).candidates.values():
        assert by_transforms(found[0])
    strict = conv_plan(*LONG, precision=precision, **relaxed)
    explained = explain_conv(*LONG, precision=precision, **relaxed)
    for found in explained.candidates.values():
        assert not any(by_transforms(one) for one in found if one.work is not None)
        out = {one.algorithm: one.reason for one in found if one.work is None}
        assert out["fft"] == "rounds more than precision='highest' allows"
    with jax.default_matmul_precision("highest"):
        assert conv_plan(*LONG, **relaxed)[:3] == strict[:3]


@pytest.mark.usefixtures("plain_precision")
@pytest.mark.parametrize("platform", ["gpu", "tpu", "cuda", "rocm"])
@pytest.mark.parametrize("layer", LAYERS)
def test_accelerators_take_direct_for_usual_layers(layer, platform):
    x, kernel, options = layer
    plan = conv_plan(x, kernel, platform=platform, **options)
    assert plan[:3] == ("direct", "direct", "direct")
    assert "estimated" in str(explain_conv(x, kernel, platform=platform, **options))


def test_the_plan_is_what_auto_runs(ran, rng):
    x, k = (rng.normal(size=shape).astype(np.float32) for shape in SMALL)
    plan = conv_plan(*SMALL)
    ran.clear()
    jax.jit(jax.grad(loss, (0, 1))).lower(x, k)
    by_direct = {part: {"direct"} for part in PARTS}
    wanted = {part: {getattr(plan, part)} | by_direct[part] for part in PARTS}
    found = {part: set(names) for part, names in parts_that_ran(ran).items()}
    # An input gradient runs the forward pass of its own algorithm, phase by phase.
    found["forward"] -= {plan.input_grad} - wanted["forward"]
    assert found == wanted


MIXED = (
    ("direct", "gemm", "shift"),
    ("gemm", "direct", "gemm"),
    ("shift", "winograd", "direct"),
    ("winograd", "fft", "overlap_add"),
    ("native", "direct", "native"),
    ("shift", "native", "gemm"),
)


@pytest.mark.parametrize("names", MIXED)
def test_each_part_runs_its_own_algorithm(names, rng):
    """XLA's convolution is left exactly where `direct` is named."""
    for name in names:
        skip_without_kernels(name)
    x, k = (rng.normal(size=shape).astype(np.float32) for shape in SMALL)
    plan = ConvPlan(*names)
    runs = {
        "forward": (lambda x, k: conv(x, k, algorithm=plan), (x, k)),
        "input_grad": (
            lambda g, k: conv_input_grad(g, k, (8, 8), algorithm=plan),
            (np.ones((2, 8, 8, 6), "f"), k),
        ),
        "kernel_grad": (
            lambda x, g: conv_kernel_grad(x, g, (3, 3), algorithm=plan),
            (x, np.ones((2, 8, 8, 6), "f")),
        ),
    }
    for name, (part, (run, arrays)) in zip(names, runs.items(), strict=True):
        text = jax.jit(run).lower(*arrays).as_text()
        assert ("stablehlo.convolution" in text) == (name == "direct"), part
        assert ("stablehlo.fft" in text) == (name in ("fft", "overlap_add")), part
        assert (f"@jaxnets_conv_{part}" in text) == (name == "native"), part
    text = jax.jit(jax.grad(lambda *a: loss(*a, algorithm=plan), (0, 1)))
    text = text.lower(x, k).as_text()
    assert text.count("stablehlo.convolution") == names.count("direct")


@pytest.mark.parametrize("names", MIXED[:2])
def test_a_mixed_plan_calls_what_it_names(names, ran, rng):
    x, k = (rng.normal(size=shape).astype(np.float32) for shape in SMALL)
    jax.jit(jax.grad(lambda *a: loss(*a, algorithm=ConvPlan(*names)), (0, 1))).lower(
        x, k
    )
    called = parts_that_ran(ran)
    for part, name in zip(PARTS, names, strict=True):
        # Phases of an input gradient are forward passes of the same algorithm.
        assert name in called[part]
        assert set(called[part]) <= {name, "direct", names[1]}


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize(
    "name",
    some_slow(
        ("direct", "native", "gemm"),
        ["direct", "native", "gemm", "shift", "winograd", "fft"],
    ),
)
def test_vmap_keeps_an_explicit_algorithm(name, axes, ran, rng):
    skip_without_kernels(name)
    x = rng.normal(size=SMALL[0] if axes[0] is None else (3, *SMALL[0]))
    k = rng.normal(size=SMALL[1] if axes[1] is None else (3, *SMALL[1]))
    arrays = (x.astype(np.float32), k.astype(np.float32))
    both = jax.vmap(jax.grad(lambda *a: loss(*a, algorithm=name), (0, 1)), axes)
    jaxpr = str(jax.make_jaxpr(both)(*arrays))
    assert "conv_general_dilated" not in jaxpr
    ran.clear()
    text = jax.jit(both).lower(*arrays).as_text()
    assert set(parts_that_ran(ran)) == set(PARTS)
    for names in parts_that_ran(ran).values():
        assert name in names
        assert set(names) <= {name, "direct"}
    assert ("stablehlo.convolution" in text) == (name == "direct")


@pytest.mark.slow
def test_a_plan_for_another_convolution_is_refused(rng):
    x, k = jnp.zeros(SMALL[0]), jnp.zeros(SMALL[1])
    # Of algorithms that take every one of these without the facts.
    plan = ConvPlan("gemm", "direct", "shift", conv_plan(*SMALL).facts)
    assert conv(x, k, algorithm=plan).shape == (2, 8, 8, 6)
    assert conv(x[:, None], k, algorithm=plan).shape == (2, 1, 8, 8, 6)
    assert conv(x, k, algorithm=plan, precision="high").shape == (2, 8, 8, 6)
    assert conv(x, k, algorithm=plan, accuracy="relaxed").shape == (2, 8, 8, 6)
    text = r"conv: algorithm is a plan for x \(2, 8, 8, 4\), kernel \(3, 3, 4, 6\), "
    others = [
        (x[:1], k, {}, r"but this is x \(1, 8, 8, 4\)"),
        (x[:, 1:], k, {}, r"but this is x \(2, 7, 8, 4\)"),
        (x, k[..., :3], {}, r"kernel \(3, 3, 4, 3\), strides"),
        (x, k, {"strides": 2}, r"strides \(2, 2\), padding"),
        (x, k, {"padding": "VALID"}, r"padding \(\(0, 0\), \(0, 0\)\)"),
        (x, k, {"dilation": 2}, r"dilation \(2, 2\), groups 1"),
        (x, k[:, :, :2], {"groups": 2}, r"groups 2, float32"),
        (x.astype("bfloat16"), k.astype("bfloat16"), {}, "groups 1, bfloat16"),
    ]
    for x, k, options, this in others:
        with pytest.raises(ValueError, match=text + ".*" + this + r".*make one with"):
            conv(x, k, algorithm=plan, **options)
        conv(x, k, algorithm=plan._replace(facts=None), **options)


@pytest.mark.parametrize("part", PARTS)
def test_an_algorithm_that_cannot_is_refused_in_any_part(part):
    x, k = jnp.zeros(SMALL[0]), jnp.zeros(SMALL[1])
    plan = ConvPlan(**{part: "winograd"})
    message = (
        r"conv: algorithm 'winograd' needs strides of 1; got \(2, 2\) \(algo.*'auto'"
    )
    with pytest.raises(ValueError, match=message):
        conv(x, k, algorithm=plan, strides=2)
    unknown = r"conv: algorithm must be one of 'auto', 'direct', .*; got 'fast'"
    with pytest.raises(ValueError, match=unknown):
        conv(x, k, algorithm=ConvPlan(**{part: "fast"}))
    whole = r"'fft' works on floats; got int32 \(cast x and kernel to float32\)"
    with pytest.raises(ValueError, match=whole):
        conv(x.astype("int32"), k.astype("int32"), algorithm=ConvPlan(**{part: "fft"}))


def test_auto_counts_the_devices_that_would_do_the_same(plain_precision):
    shapes = (8, 56, 56, 64), (3, 3, 64, 64)
    same = (1, "SAME", 1, 1, "float32", None, None)
    dense = conv_facts("conv", *shapes, *same)
    assert choose("kernel_grad", dense, Target("cpu")) != "direct"
    assert choose("kernel_grad", dense, Target("cpu", 1000)) == "direct"
    # A transform costs so much less here that four devices may well do the same one.
    causal = (1, "CAUSAL", 1, 32, "float32", None, "relaxed")
    long = ((4, 8192, 32), (1024, 1, 32), *causal)
    chosen = choose("kernel_grad", conv_facts("conv", *long), Target("cpu", 4))
    assert chosen in ("fft", "overlap_add")


def test_winograd_is_not_taken_where_its_kernel_is_what_costs(plain_precision):
    """Many channels on a small image: 11 times slower than products, measured."""
    wide = (3, 3, 512, 512)
    options = {"padding": "SAME", "platform": "cpu", "accuracy": "relaxed"}
    small = conv_plan((1, 7, 7, 512), wide, **options)
    assert "winograd" not in (small.forward, small.input_grad, small.kernel_grad)
    large = explain_conv((32, 28, 28, 512), wide, **options)
    seconds = {one.algorithm: one.seconds for one in large.candidates["forward"]}
    assert seconds["winograd"] < 0.7 * min(seconds["gemm"], seconds["direct"])
