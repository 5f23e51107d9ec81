"""Convolution of several channels by transforms of tiles, against sums in NumPy."""

import numpy as np
import pytest

from jaxnets import native
from tests.functional.conv_cases import make_problem
from tests.helpers import assert_close
from tests.native.native_cases import check, instruction_sets, parts, tap_sums

pytestmark = pytest.mark.skipif(
    native.missing() is not None, reason=f"native {native.missing()}"
)

# Batch, spatial, window, fan-in, fan-out, options, lengths. Vectors have 16, 8 or 4
# lanes; both channels lie side by side in the slots of one if they fill half of it.
CASES = {
    "side by side": (3, (40,), (5,), 2, 2, {"padding": 2}, (8,)),
    "side by side, more inputs": (3, (40,), (5,), 2, 1, {"padding": 2}, (8,)),
    "side by side, more outputs": (2, (30,), (5,), 1, 2, {"padding": 2}, (12,)),
    "slots that leave lanes over": (2, (41,), (5,), 3, 3, {"padding": 2}, (9,)),
    "slots with room": (5, (41,), (5,), 3, 5, {"padding": 2}, (18,)),
    "slots of half a vector": (2, (41,), (5,), 8, 7, {"padding": 2}, (16,)),
    "one input": (3, (33,), (5,), 1, 20, {"padding": 2}, (12,)),
    "few inputs, vectors of outputs": (4, (50,), (7,), 3, 41, {"padding": 3}, (12,)),
    "few outputs": (2, (50,), (7,), 20, 3, {"padding": 3}, (16,)),
    "one output": (2, (50,), (7,), 41, 1, {"padding": 3}, (16,)),
    "a vector each": (2, (50,), (7,), 16, 16, {"padding": 3}, (18,)),
    "many inputs and columns": (2, (50,), (7,), 37, 90, {"padding": 3}, (16,)),
    "one tile": (1, (9,), (4,), 5, 17, {}, (12,)),
    "more tiles than rows": (11, (90,), (5,), 9, 11, {"padding": 2}, (8,)),
    "more points than the nearest cache": (1, (700,), (30,), 4, 4, {}, (1024,)),
    "negative padding": (2, (33,), (4,), 5, 6, {"padding": ((-3, -5),)}, (12,)),
    "nothing but padding": (1, (2,), (3,), 4, 17, {"padding": ((9, 9),)}, (4,)),
    "dilation": (2, (41,), (5,), 6, 9, {"padding": 6, "dilation": 3}, (18,)),
    "two axes": (2, (13, 17), (5, 7), 3, 18, {"padding": 3}, (18, 24)),
    "two axes, tiles, dilation": (
        2,
        (25, 31),
        (3, 4),
        10,
        5,
        {"padding": ((2, 4), (5, -1)), "dilation": (2, 3)},
        (6, 8),
    ),
    "three axes": (2, (6, 7, 9), (3, 4, 5), 2, 3, {"padding": 2}, (8, 9, 6)),
    "groups side by side": (2, (40,), (5,), 2, 3, {"groups": 7}, (12,)),
    "groups of one input": (2, (40,), (5,), 1, 3, {"groups": 4}, (12,)),
    "groups of one output": (2, (40,), (5,), 4, 1, {"groups": 5}, (12,)),
    "groups of vectors": (2, (40,), (5,), 9, 20, {"groups": 3}, (12,)),
    "one point": (3, (6,), (1,), 5, 9, {}, (1,)),
}


@pytest.mark.parametrize("case", CASES)
def test_tiles_equal_the_sums(case, rng):
    batch, spatial, window, fan_in, fan_out, options, lengths = CASES[case]
    problem = make_problem(rng, batch, spatial, window, fan_in, fan_out, **options)
    check(problem, lengths=(lengths, lengths, lengths))


CHANNELS = ((2, 2), (3, 5), (3, 20), (20, 3), (20, 33))


@pytest.mark.parametrize(("fan_in", "fan_out"), CHANNELS)
def test_quiet_images_beside_loud_ones_keep_their_digits(fan_in, fan_out, rng):
    """Two tiles share one transform, whose rounding follows the louder one."""
    problem = make_problem(rng, 6, (30,), (9,), fan_in, fan_out, padding=4).single()
    x, g = np.array(problem.x), np.array(problem.g)
    loud = np.float32([1e-6, 1e8, 1, 1e-12, 1e12, 1]).reshape(6, 1, 1)
    for name in instruction_sets():
        changed = problem._replace(x=x * loud, g=g / loud)
        y, dx, dk = tap_sums(changed)
        results = parts(changed, name, ((16,),) * 3)
        for result, want, scale in ((results[0], y, loud), (results[1], dx, 1 / loud)):
            found, want = np.asarray(result, np.float64) / scale, want / scale
            size = np.abs(want).max()
            assert_close(found / size, want / size, tol=1e-6)
        assert_close(np.asarray(results[2], np.float64), dk, tol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("fan_in", "fan_out"), CHANNELS)
def test_what_is_not_finite_stays_in_its_image(fan_in, fan_out, bad, rng):
    """As sums would have it, but for the positions: all of a tile has it."""
    problem = make_problem(rng, 4, (20,), (9,), fan_in, fan_out, padding=4).single()
    for image in range(4):
        x, g = np.array(problem.x), np.array(problem.g)
        x[image, 3, fan_in // 2] = g[image, 3, fan_out // 2] = bad
        here = np.arange(4) == image
        for name in instruction_sets():
            changed = problem._replace(x=x, g=g)
            y, dx, dk = map(np.asarray, parts(changed, name, ((24,),) * 3))
            for found in (y, dx):
                finite = np.isfinite(found).reshape(4, -1)
                np.testing.assert_array_equal(~finite.all(1), here)
                np.testing.assert_array_equal(~finite.any(1), here)
            finite = np.isfinite(dk).all(0)
            bad_in = np.arange(fan_in) == fan_in // 2
            bad_out = np.arange(fan_out) == fan_out // 2
            np.testing.assert_array_equal(~finite, bad_in[:, None] | bad_out)
