"""The compiled kernels called one by one, and what they are to give, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import native
from jaxnets.functional.conv_algorithms import ConvFacts
from jaxnets.native.build import INSTRUCTIONS
from tests.helpers import assert_close

AXES = 3


def instruction_sets() -> list[str]:
    """Those that this processor has, the best last; none without the library."""
    if native.missing():
        return []
    names = list(INSTRUCTIONS)
    return names[: names.index(native.instructions()) + 1]


def call(part, a, b, shape, spec, instructions="", lengths=()):
    """One of the three parts, as the library is called; by tiles of some lengths."""
    missing = AXES - len(spec.strides)
    ones, zeros = (1,) * missing, (0,) * missing
    # Images have their axes behind the batch, kernels in front.
    image = lambda shape: (shape[0], *ones, *shape[1:])  # noqa: E731
    window = lambda shape: (*ones, *shape)  # noqa: E731
    second, result = (image if part == "kernel_grad" else window), image
    if part == "kernel_grad":
        result = window
    like = jax.ShapeDtypeStruct(result(shape), jnp.float32)
    y = jax.ffi.ffi_call(f"jaxnets_conv_{part}", like)(
        a.reshape(image(a.shape)),
        b.reshape(second(b.shape)),
        strides=np.array(ones + spec.strides, np.int64),
        lo=np.array(zeros + tuple(lo for lo, _ in spec.padding), np.int64),
        dilation=np.array(ones + spec.dilation, np.int64),
        groups=np.int64(spec.groups),
        lengths=np.array(ones + lengths if lengths else (), np.int64),
        elementwise=np.int64(not spec.relaxed),
        instructions=instructions,
    )
    return y.reshape(shape)


def parts(problem, instructions="", lengths=((), (), ())):
    """The convolution and both gradients, by one instruction set."""
    x, kernel, g, spec = problem
    return (
        call("forward", x, kernel, g.shape, spec, instructions, lengths[0]),
        call("input_grad", g, kernel, x.shape, spec, instructions, lengths[1]),
        call("kernel_grad", x, g, kernel.shape, spec, instructions, lengths[2]),
    )


def tap_sums(problem, dtype=np.float64):
    """The three parts tap by tap in a wide dtype: products of the cells that it pairs.

    Products of padding are left out, so 0 · inf does not arise there.
    """
    x, kernel, g = (np.asarray(array, dtype) for array in problem[:3])
    spec, groups = problem.spec, problem.spec.groups
    y, dx, dk = (np.zeros(array.shape, dtype) for array in (g, x, kernel))

    def split(array):
        channels = array.shape[-1] // groups
        return array.reshape(-1, groups, channels).transpose(1, 0, 2)

    def join(array, like):
        return array.transpose(1, 0, 2).reshape(like.shape)

    for tap in np.ndindex(*problem.window):
        cells, results = [], []
        for axis, t in enumerate(tap):
            at = np.arange(g.shape[1 + axis]) * spec.strides[axis]
            at += t * spec.dilation[axis] - spec.padding[axis][0]
            inside = (at >= 0) & (at < x.shape[1 + axis])
            cells.append(at[inside])
            results.append(np.flatnonzero(inside))
        here, there = (np.ix_(range(len(x)), *i) for i in (cells, results))
        a, b, w = split(x[here]), split(g[there]), split(kernel[tap])
        y[there] += join(a @ w, g[there])
        dx[here] += join(b @ w.transpose(0, 2, 1), x[here])
        dk[tap] = join(a.transpose(0, 2, 1) @ b, dk[tap])
    return y, dx, dk


def facts_of(problem):
    """What the plan of a problem is made from."""
    x, kernel = problem.x, problem.kernel
    return ConvFacts(
        len(x),
        problem.spatial,
        problem.window,
        x.shape[-1],
        kernel.shape[-1],
        problem.spec,
        "float32",
    )


def relaxed(problem):
    """The problem with all results of transforms kept."""
    return problem._replace(spec=problem.spec._replace(relaxed=True))


def check(problem, wanted=None, lengths=((), (), ())):
    """Every instruction set against the sums, relative to the largest of them.

    By transforms of some lengths, if there are any: relaxed, so that all results are
    kept.
    """
    problem = relaxed(problem.single()) if lengths[0] else problem.single()
    wanted = tap_sums(problem) if wanted is None else wanted

    def by_all(x, kernel, g):
        arrays = problem._replace(x=x, kernel=kernel, g=g)
        return {name: parts(arrays, name, lengths) for name in instruction_sets()}

    found = jax.jit(by_all)(*problem[:3])
    assert found
    for name, results in found.items():
        each = zip(("y", "dx", "dk"), results, wanted, problem.terms, strict=True)
        for part, result, want, terms in each:
            # Transforms round the more, the longer they are; not by the terms.
            terms = max(terms, 16) if lengths[0] else terms
            scale = max(np.abs(want).max(), np.finfo(np.float32).tiny)
            try:
                assert_close(
                    np.asarray(result, np.float64) / scale,
                    want / scale,
                    tol=1e-6 * terms**0.5,
                )
            except AssertionError as error:
                raise AssertionError(f"{part} by {name}: {error}") from None
