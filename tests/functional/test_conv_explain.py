"""explain_conv: the table of every algorithm, its marks and its reasons."""

import re

import jax
import pytest

from jaxnets.functional import conv_plan, explain_conv
from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS
from tests.functional.conv_plan_cases import LAYERS, LONG, SMALL


@pytest.fixture
def plain_precision():
    """The precision that users have: the suite's own rules out what rounds more."""
    with jax.default_matmul_precision("default"):
        yield


def sections(text):
    """The lines of each part's table in an explanation."""
    blocks = text.split("\n\n")[1:]
    return {block.split()[0]: block.splitlines()[1:] for block in blocks}


@pytest.mark.usefixtures("plain_precision")
@pytest.mark.parametrize("accuracy", ["elementwise", "relaxed"])
@pytest.mark.parametrize("layer", [(*LONG, {}), *LAYERS[2:6]])
def test_an_explanation_shows_every_algorithm_and_marks_the_choice(layer, accuracy):
    x, kernel, options = layer
    options = options | {"accuracy": accuracy}
    why = explain_conv(x, kernel, platform="cpu", **options)
    plan = conv_plan(x, kernel, platform="cpu", **options)
    assert why.plan == plan
    text = str(why)
    assert repr(why) == text
    assert text.startswith(f"x {x}, kernel {kernel}, strides ")
    assert set(sections(text)) == set(PARTS)
    for part, lines in sections(text).items():
        taken = getattr(plan, part)
        rows, reason = lines[:-1], lines[-1]
        assert sorted(row[2:].split()[0] for row in rows) == sorted(ALGORITHMS)
        assert [row[2:].split()[0] for row in rows if row[0] == "*"] == [taken]
        assert re.match(rf"  {taken}: fewest estimated seconds, \w+ takes", reason)
        seconds = [one.seconds for one in why.candidates[part]]
        assert seconds == sorted(seconds)
        for row, one in zip(rows, why.candidates[part], strict=True):
            assert row[2:].split()[1] == one.accuracy
            if one.work is None:
                assert one.reason and row.endswith(one.reason)
                continue
            assert one.seconds > 0
            figures = [float(word) for word in row[2:].split()[2:]]
            shown = [one.work.flops / 1e9, one.work.bytes / 1e6, one.work.calls]
            assert figures == pytest.approx([*shown, one.seconds * 1e3], abs=6e-3)


@pytest.mark.usefixtures("plain_precision")
def test_an_explanation_says_which_errors_rule_an_algorithm_out():
    transforms = {"winograd", "fft", "overlap_add"}
    for accuracy in (None, "elementwise"):
        why = explain_conv(*LAYERS[2][:2], platform="cpu", accuracy=accuracy)
        for found in why.candidates.values():
            assert {one.algorithm for one in found if one.work is None} == transforms
            for one in found:
                relaxed = one.algorithm in transforms
                assert one.accuracy == ("relaxed" if relaxed else "elementwise")
                if relaxed:
                    assert one.reason == (
                        "errors are relative to the largest values; "
                        "accuracy='relaxed' permits it"
                    )
    why = explain_conv(*LAYERS[2][:2], platform="cpu", accuracy="relaxed")
    assert all(one.work is not None for one in why.candidates["forward"])


def test_explain_names_the_only_one_that_can():
    why = explain_conv(*SMALL, dtype="complex64", strides=2, platform="tpu")
    assert {one.algorithm for one in why.candidates["forward"] if one.work} == {
        "direct",
        "gemm",
        "shift",
    }
    reasons = {one.algorithm: one.reason for one in why.candidates["forward"]}
    assert reasons["winograd"] == "needs strides of 1; got (2, 2)"
    assert reasons["fft"].startswith("works on floats; got complex64")


def test_an_unknown_platform_goes_by_estimates():
    why = explain_conv(*SMALL, platform="abacus")
    assert "rates of abacus: estimated" in str(why)
    assert why.plan == conv_plan(*SMALL, platform="abacus")


@pytest.mark.parametrize("function", [conv_plan, explain_conv])
@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((8, 8, 4), (3, 3, 3, 6), {}, "kernel has 3 input channels but x has 4"),
        ((8, 8, 4), (3, 6), {}, "kernel must have at least 3 axes"),
        ((8, 4), (3, 3, 4, 6), {}, "x must have at least 3 axes"),
        ((8, 8, 4), (3, 3, 4, 6), {"strides": 0}, "strides must be at least 1; got 0"),
        ((8, 8, 4), (3, 3, 4, 6), {"padding": "SOME"}, "padding must be one of"),
        ((2, 8, 4), (3, 3, 4, 6), {"padding": "VALID"}, "the window spans 3 cells"),
    ],
)
def test_bad_sizes_carry_the_name_of_the_function(
    function, x, kernel, options, message
):
    with pytest.raises(ValueError, match=f"{function.__name__}: {message}"):
        function(x, kernel, **options)
