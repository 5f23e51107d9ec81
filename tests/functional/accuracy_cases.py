"""Data that transforms get wrong, and the elementwise bound on the error of sums."""

import jax.numpy as jnp
import numpy as np

from jaxnets.functional.conv_algorithms import PARTS
from tests.functional.conv_cases import make_problem
from tests.helpers import EPSILON
from tests.native.native_cases import tap_sums

OPERANDS = ("x", "kernel", "g")
USES = {"forward": "x kernel", "input_grad": "g kernel", "kernel_grad": "x g"}

# batch, spatial, window, channels of a group in and out, options.
LAYERS = {
    "1-D, long": (2, (160,), (33,), 1, 1, {"padding": ((32, 0),)}),
    "1-D, depthwise": (1, (70,), (9,), 1, 1, {"padding": 4, "groups": 8}),
    "2-D, one channel": (1, (20, 18), (7, 7), 1, 4, {"padding": 3}),
    "2-D, dense": (2, (12, 12), (3, 3), 16, 16, {"padding": 1}),
    "2-D, strides": (2, (11, 11), (3, 3), 3, 8, {"padding": 1, "strides": 2}),
    "2-D, depthwise": (1, (15, 15), (5, 5), 1, 1, {"padding": 2, "groups": 8}),
    "2-D, groups": (
        *(1, (12, 12), (3, 3), 4, 4),
        {"padding": 2, "groups": 2, "dilation": 2},
    ),
    "3-D": (1, (6, 6, 6), (3, 3, 3), 2, 3, {"padding": 1}),
}
FAST = ("1-D, long", "2-D, dense", "2-D, depthwise")


def layer(name, rng, layers=LAYERS):
    """A layer with random arrays."""
    batch, spatial, window, fan_in, fan_out, options = layers[name]
    return make_problem(rng, batch, spatial, window, fan_in, fan_out, **options)


def spike(rng, shape):
    """Positive numbers near 1, and one of 1e8."""
    return with_one(rng, rng.uniform(0.5, 1.5, shape), 1e8)


def alternating(rng, shape):
    """1e20 and 1e-20 in turn."""
    return np.where(np.arange(np.prod(shape)) % 2, 1e-20, 1e20).reshape(shape)


def decades(rng, shape):
    """Positive numbers over 20 decades."""
    return 10.0 ** rng.uniform(-10, 10, shape)


def impulse(rng, shape):
    """Zeros, and one number that is none."""
    return with_one(rng, np.zeros(shape), 0.7)


def with_one(rng, array, value):
    """The array with one element, anywhere, of this value."""
    array = array.copy()
    array.flat[rng.integers(array.size)] = value
    return array


PATTERNS = (spike, alternating, decades, impulse)


def adversarial(problem, rng):
    """The problem with each pattern in each of its operands, and their names."""
    for pattern in PATTERNS:
        for place, operand in enumerate(OPERANDS):
            arrays = list(problem[:3])
            arrays[place] = pattern(rng, arrays[place].shape)
            yield (
                f"{pattern.__name__} in {operand}",
                problem._replace(**dict(zip(OPERANDS, arrays, strict=True))),
            )


def integers(problem, rng, most):
    """The problem with whole numbers whose sums stay below 2^24, where float32 ends."""
    most = min(most, int((2**24 / max(problem.terms)) ** 0.5))
    arrays = (rng.integers(0, most, array.shape) for array in problem[:3])
    return problem._replace(**dict(zip(OPERANDS, arrays, strict=True)))


def rounded(problem, dtype):
    """The problem with its arrays as numbers of a dtype, in float64."""
    arrays = (np.asarray(jnp.asarray(a, dtype), np.float64) for a in problem[:3])
    return problem._replace(**dict(zip(OPERANDS, arrays, strict=True)))


def check_bound(results, problem, dtype, where):
    """|error| ≤ n ε Σ |x| |k| for every result, and half an ε to round it."""
    wider = np.longdouble if dtype == "float64" else np.float64
    values, sums, terms = (
        tap_sums(problem._replace(x=x, kernel=kernel, g=g), wider)
        for x, kernel, g in (
            problem[:3],
            map(np.abs, problem[:3]),
            map(np.ones_like, problem[:3]),
        )
    )
    wide = EPSILON["float64" if dtype == "float64" else "float32"]
    for part, result, value, size, n in zip(
        PARTS, results, values, sums, terms, strict=True
    ):
        assert result.dtype == jnp.dtype(dtype)
        error = np.abs(np.asarray(result, np.float64).astype(wider) - value)
        allowed = n * wide * size + EPSILON[dtype] * np.abs(value)
        worst = np.max(error - allowed)
        assert worst <= 0, (
            f"{where}, {part}: {np.max(error / np.maximum(size, 1e-300))}"
        )


def with_terms(part, problem, bad):
    """Where one of the terms of a result is bad, `bad` being 0 or 1 an operand.

    Returns:
        Two masks: by the terms that exist, and by those with the zeros of padding (and
        of strides, in the input gradient) as well.
    """
    place = PARTS.index(part)
    used = np.zeros(1, bool)
    for operand in USES[part].split():
        ones = {name: np.ones_like(getattr(problem, name)) for name in OPERANDS}
        one = problem._replace(**ones | {operand: getattr(bad, operand)})
        used = used | (tap_sums(one)[place] > 0)
    groups = problem.spec.groups
    if part == "input_grad":
        *_, fan_in, out = problem.kernel.shape
        taps = bad.kernel.reshape(-1, fan_in, groups, out // groups)
        padded = taps.any((0, 3)).T.reshape(-1)
    else:
        second = bad.kernel if part == "forward" else bad.g
        padded = second.any(tuple(range(second.ndim - 1)))
    return used, used | padded


def check_confined(problem, run, rng):
    """One NaN or infinity in each operand: which results it reaches."""
    for value in (np.nan, np.inf):
        for operand in OPERANDS:
            where = with_one(rng, np.zeros(getattr(problem, operand).shape), 1.0)
            nothing = {n: np.zeros(getattr(problem, n).shape) for n in OPERANDS}
            bad = problem._replace(**nothing | {operand: where})
            arrays = {n: np.float32(getattr(problem, n)) for n in OPERANDS}
            arrays[operand][where > 0] = value
            results = run(*(jnp.asarray(arrays[n]) for n in OPERANDS))
            for part, result in zip(PARTS, results, strict=True):
                if operand not in USES[part]:
                    assert np.isfinite(result).all()
                    continue
                used, padded = with_terms(part, problem, bad)
                found = ~np.isfinite(result)
                assert (found >= used).all(), f"{value} in {operand} lost in {part}"
                most = used if operand == USES[part].split()[0] else padded
                beyond = f"{value} in {operand}: {found.sum()} of {part}, {most.sum()}"
                assert (found <= most).all(), beyond
