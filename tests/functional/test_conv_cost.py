"""The estimated seconds behind `auto`: known corrections, and fits to known costs."""

import numpy as np
import pytest

from benchmarks import calibrate_conv
from benchmarks._conv_sweep import Measured, sweep
from jaxnets.functional._conv_cost import CAUTION, REACH, Costs, costs, sizes
from jaxnets.functional._conv_rule import candidates
from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS, ConvFacts, ConvSpec
from jaxnets.functional.conv_algorithms._spec import Work

RATES = {"gemm": {"dense": {"forward": [2.0, 3.0, 5.0]}}}
WORK = Work(7, 11, 13, "dense")
COUNTED = 7 * 2.0 + 11 * 3.0 + 13 * 5.0


def facts(batch=1, channels=1, window=1, strides=1, rank=1):
    spec = ConvSpec((strides,) * rank, ((0, 0),) * rank, (1,) * rank, 1, None)
    cells = (1 + 15 * strides,) * rank
    return ConvFacts(batch, cells, (window,) * rank, channels, 4, spec, "float32")


def test_sizes_are_logarithms():
    found = sizes(facts(batch=8, channels=32, strides=2, rank=2))
    # In and out of a group, groups, batch, 16 x 16 positions, taps, strides, rank.
    assert found.tolist() == [5, 2, 0, 3, 8, 0, 4, 6]


def test_a_platform_that_was_not_measured_has_rates_alone():
    known = Costs({"measured": False, "rates": RATES})
    assert known.basis(facts()) is None
    assert known.seconds("gemm", "forward", WORK, None) == COUNTED


def test_corrections_near_and_far_from_what_was_measured():
    cases = [sizes(facts(batch=1)), sizes(facts(batch=2**12))]
    corrections = {
        "cases": np.array(cases).tolist(),
        "planes": {"gemm": {"forward": [0.5, 0, 0, 0, 0.25, 0, 0, 0, 0]}},
        "weights": {"gemm": {"forward": [0.7, -0.3]}},
    }
    content = {"measured": True, "rates": RATES, "fresh": 3e-10}
    known = Costs({**content, "corrections": corrections})
    far = np.exp(-(12**2) / (2 * REACH**2))

    def seconds(batch):
        return known.seconds("gemm", "forward", WORK, known.basis(facts(batch=batch)))

    first = COUNTED * np.exp(0.5 - 0.25 + 0.7 - 0.3 * far)
    last = COUNTED * np.exp(0.5 + 0.25 * (12 / 4 - 1) + 0.7 * far - 0.3)
    np.testing.assert_allclose(seconds(1), first, rtol=1e-12)
    np.testing.assert_allclose(seconds(2**12), last, rtol=1e-12)
    # Farther out it is held constant, and counts more.
    beyond = last * np.exp(CAUTION * (1 - np.exp(-(8**2) / (2 * REACH**2))))
    np.testing.assert_allclose(seconds(2**20), beyond, rtol=1e-12)
    basis = known.basis(facts())
    fresh = known.seconds("gemm", "forward", WORK._replace(fresh=1e6), basis)
    np.testing.assert_allclose(fresh, seconds(1) + 1e6 * 3e-10, rtol=1e-12)


@pytest.mark.slow
def test_the_fit_finds_costs_that_sizes_decide():
    """Products of few channels are slow: 4 times at 1, hardly at 64."""

    def truth(name, part, one):
        work = ALGORITHMS[name].work(part, one)
        slow = 1 + 3 / one.fan_in
        return (work.flops * 1e-11 + work.bytes * 1e-10 + work.calls * 1e-6) * slow

    def measured(cases):
        able = {
            one: [name for name, a in ALGORITHMS.items() if a.unsupported(one) is None]
            for one in cases
        }
        return [
            Measured("", part, one, {name: truth(name, part, one) for name in names})
            for one, names in able.items()
            for part in PARTS
        ]

    known = Costs(calibrate_conv.fit(measured(sweep(0, 100))))
    errors, without = [], []
    for one in measured(sweep(1, 40)):
        basis = known.basis(one.facts)._replace(distance=0)  # no caution
        for name, seconds in one.seconds.items():
            work = ALGORITHMS[name].work(one.part, one.facts)._replace(fresh=0)
            for terms, kept in ((basis, errors), (None, without)):
                estimate = known.seconds(name, one.part, work, terms)
                kept.append(abs(np.log(estimate / seconds)))
    assert np.mean(errors) < 0.2  # NOISE takes part of the truth for noise
    assert np.mean(errors) < np.mean(without) * 2 / 3


def test_one_algorithm_corrected_leaves_the_others_as_they_were():
    def measured(cases, seconds, names):
        return [
            Measured("", part, one, dict.fromkeys(names, seconds))
            for one in cases
            for part in PARTS
        ]

    def estimate(known, name, one):
        basis = known.basis(one)._replace(distance=0)
        work = ALGORITHMS[name].work("forward", one)._replace(fresh=0)
        return known.seconds(name, "forward", work, basis)

    cases = sweep(0, 30)
    content = calibrate_conv.fit(measured(cases, 1.0, ["direct", "gemm"]))
    old = Costs(content)
    new = Costs(calibrate_conv.corrected(content, measured(cases, 9.0, ["gemm"])))
    before, after = (
        {
            name: np.array([estimate(known, name, one) for one in cases])
            for name in ("direct", "gemm")
        }
        for known in (old, new)
    )
    np.testing.assert_allclose(after["direct"], before["direct"], rtol=1e-9)
    errors = [np.abs(np.log(known["gemm"] / 9.0)).mean() for known in (before, after)]
    assert errors[1] < errors[0] / 4


def test_an_algorithm_that_nothing_is_known_of_gets_rates():
    """As when `native` came: what was known of the others stays."""
    cases = sweep(2, 30)
    of = lambda names: [  # noqa: E731
        Measured("", part, one, {name: ALGORITHMS[name].work(part, one).flops * 1e-11})
        for one in cases
        for part in PARTS
        for name in names
    ]
    content = calibrate_conv.fit(of(["direct"]))
    assert list(content["rates"]) == ["direct"]
    new = calibrate_conv.corrected(content, of(["gemm"]))
    assert new["rates"]["direct"] == content["rates"]["direct"]
    known, one = Costs(new), cases[0]
    work = ALGORITHMS["gemm"].work("forward", one)._replace(fresh=0)
    basis = known.basis(one)._replace(distance=0)
    found = known.seconds("gemm", "forward", work, basis)
    np.testing.assert_allclose(found, work.flops * 1e-11, rtol=0.3)


def test_spread_is_what_unseen_convolutions_leave():
    """Seconds e^{±1} that no size explains: 1, and what the fit takes for sizes."""
    rng = np.random.default_rng(0)
    measured = [
        Measured("", part, one, {"gemm": float(np.exp(rng.choice([-1.0, 1.0])))})
        for one in sweep(3, 60)
        for part in PARTS
    ]
    content = calibrate_conv.with_spread(calibrate_conv.fit, measured)
    assert 1 < content["spread"]["gemm"] < 2
    one = measured[0].facts
    work = ALGORITHMS["gemm"].work("forward", one)._replace(fresh=0)
    doubting, plain = (
        known.seconds("gemm", "forward", work, known.basis(one))
        for known in (Costs(content), Costs(content | {"spread": {}}))
    )
    wanted = plain * np.exp(content["spread"]["gemm"] ** 2)
    np.testing.assert_allclose(doubting, wanted, rtol=1e-12)


def test_only_names_algorithms_and_parts():
    assert calibrate_conv.pairs(["shift:kernel_grad"]) == [("shift", "kernel_grad")]
    assert calibrate_conv.pairs(["gemm"]) == [("gemm", part) for part in PARTS]
    for wrong in ("fast", "gemm:backward"):
        with pytest.raises(SystemExit, match=f"--only takes direct, .*{wrong}"):
            calibrate_conv.pairs([wrong])


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu", "unknown"])
def test_every_estimate_is_a_number_even_far_out(platform):
    assert costs(platform).measured == (platform == "cpu")
    for one in (
        facts(),
        facts(batch=2**20, channels=2**14, window=15),
        facts(batch=0),
        facts(rank=3, window=3, strides=2),
    ):
        for part in PARTS:
            for candidate in candidates(part, one, platform):
                if candidate.work is not None:
                    assert np.isfinite(candidate.seconds)
                    assert candidate.seconds >= 0
