"""The native kernels inside JAX's transformations, threads, meshes and exports."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxnets import native
from jaxnets.functional import conv
from tests.functional.conv_cases import make_problem
from tests.helpers import assert_close
from tests.native.native_cases import instruction_sets, parts, tap_sums

pytestmark = pytest.mark.skipif(
    native.missing() is not None, reason=f"native {native.missing()}"
)

SAME = {"padding": 1}
KINDS = {
    "dense": (4, (12, 9), (3, 3), 3, 5, SAME),
    "groups": (4, (12, 9), (3, 3), 3, 2, SAME | {"groups": 3}),
    "depthwise": (4, (12, 9), (3, 3), 1, 1, SAME | {"groups": 16}),
}


def draw(rng, kind="dense"):
    *sizes, options = KINDS[kind]
    return make_problem(rng, *sizes, **options).single()


def run(x, kernel, groups=1):
    """Padding that keeps the size of images, as the problems above have it."""
    return conv(x, kernel, groups=groups, algorithm="native")


def sums(problem, **arrays):
    """The three parts of a problem of other arrays, in float64."""
    wide = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    return tap_sums(problem._replace(**wide))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_every_time(kind, rng):
    """Also where sums of several threads are added up."""
    problem = make_problem(rng, 7, *KINDS[kind][1:-1], **KINDS[kind][-1]).single()
    for name in instruction_sets():
        by_name = jax.jit(lambda *a, name=name: parts((*a, problem.spec), name))
        first = by_name(*problem[:3])
        for _ in range(10):
            for one, again in zip(first, by_name(*problem[:3]), strict=True):
                assert one.tobytes() == again.tobytes()


def test_calls_from_many_threads(rng):
    """Each with arrays of its own, that a mixture of two would not go unseen."""
    problems = [draw(rng, kind) for kind in KINDS for _ in range(4)]
    wanted = [tap_sums(problem) for problem in problems]
    compiled = jax.jit(parts_of_problem, static_argnums=3)

    def work(i):
        n = i % len(problems)
        found = compiled(*problems[n][:3], problems[n].spec)
        for one, want, terms in zip(found, wanted[n], problems[n].terms, strict=True):
            assert_close(one, want, dtype=jnp.float32, reduction=terms)
        return n

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(work, range(96)))) == 96


def test_two_at_once_in_one_program(rng):
    """XLA may run both at the same time, on the same pool of threads."""
    one, two = draw(rng), draw(rng, "depthwise")

    @jax.jit
    def both(a, b):
        y, z = run(jnp.tanh(a[0]), a[1]), run(jnp.exp(b[0]), b[1], 16)
        return jnp.sum(y**2) * jnp.mean(jnp.sin(z))

    y = sums(one, x=np.tanh(one.x.astype(np.float64)))[0]
    z = sums(two, x=np.exp(two.x.astype(np.float64)))[0]
    wanted = np.sum(y**2) * np.mean(np.sin(z))
    got = both(one[:2], two[:2])
    np.testing.assert_allclose(float(got), wanted, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_vmap(kind, axes, rng):
    problems = [draw(rng, kind) for _ in range(3)]
    groups = problems[0].spec.groups
    x, kernel = (np.stack([p[i] for p in problems]) for i in (0, 1))
    arrays = [
        a if axis == 0 else a[0] for a, axis in zip((x, kernel), axes, strict=True)
    ]
    mapped = jax.vmap(lambda x, k: run(x, k, groups), axes)
    gradients = jax.vmap(jax.grad(lambda *a: jnp.sum(run(*a, groups)), (0, 1)), axes)
    got = mapped(*arrays), *gradients(*arrays)
    wanted = []
    for i in range(3):
        here = [a[i] if axis == 0 else a for a, axis in zip(arrays, axes, strict=True)]
        g = np.ones_like(problems[0].g)
        wanted.append(sums(problems[0], x=here[0], kernel=here[1], g=g))
    for result, want in zip(got, zip(*wanted, strict=True), strict=True):
        terms = max(problems[0].terms)
        assert_close(result, np.stack(want), dtype=jnp.float32, reduction=terms)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_both_orders(kind, rng):
    """Of sum(sin(y)): cos(y) goes back; along v, minus sin(y) conv(v, kernel) does."""
    problem = draw(rng, kind)
    groups, v = problem.spec.groups, draw(rng, kind).x
    y = sums(problem)[0]
    along = sums(problem, x=v)[0]
    reduction = 16 * max(problem.terms)

    def loss(x, kernel):
        return jnp.sum(jnp.sin(run(x, kernel, groups)))

    _, tangent = jax.jvp(lambda x: run(x, problem.kernel, groups), (problem.x,), (v,))
    assert_close(tangent, along, dtype=jnp.float32, reduction=reduction)
    _, dx, dk = sums(problem, g=np.cos(y))
    for remat in (lambda f: f, jax.checkpoint):
        got = jax.jit(jax.grad(remat(loss), (0, 1)))(problem.x, problem.kernel)
        assert_close(got, (dx, dk), dtype=jnp.float32, reduction=reduction)

    def slope(x, kernel):
        return jnp.vdot(jax.grad(loss)(x, kernel), v)

    got = jax.jit(jax.grad(slope, (0, 1)))(problem.x, problem.kernel)
    _, by_x, by_y = sums(problem, g=-np.sin(y) * along)
    # The kernel meets the slope twice: in y, and in the product with v.
    by_v = sums(problem, x=v, g=np.cos(y))[2]
    assert_close(got, (by_x, by_y + by_v), dtype=jnp.float32, reduction=reduction)


def test_scan_carries_an_image(rng):
    problem = make_problem(rng, 2, (6, 5), (3, 3), 4, 4, padding=1).single()
    steps = rng.normal(size=(3, *problem.kernel.shape)).astype(np.float32)

    def step(x, kernel):
        y = jnp.tanh(run(x, kernel))
        return y, jnp.sum(y)

    last, totals = jax.jit(lambda x: lax.scan(step, x, steps))(problem.x)
    image, wanted = problem.x, []
    for kernel in steps:
        image = np.tanh(sums(problem, x=image, kernel=kernel)[0])
        wanted.append(image.sum())
    assert_close(last, image, dtype=jnp.float32, reduction=1000)
    assert_close(totals, np.array(wanted), dtype=jnp.float32, reduction=1000)


@pytest.mark.parametrize("algorithm", ["native", "auto"])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_shard_map(axis_type, algorithm, rng):
    problem = make_problem(rng, 8, (12, 9), (3, 3), 3, 5, padding=1).single()
    mesh = jax.make_mesh((4,), ("d",), axis_types=(axis_type,))

    def loss(x, kernel):
        y = conv(x, kernel, algorithm=algorithm)
        return lax.psum(jnp.sum(jnp.sin(y)), "d"), y

    over = PartitionSpec("d")
    spread = jax.shard_map(
        loss,
        mesh=mesh,
        in_specs=(over, PartitionSpec()),
        out_specs=(PartitionSpec(), over),
    )
    with jax.set_mesh(mesh):
        both = jax.jit(jax.value_and_grad(spread, (0, 1), has_aux=True))
        x = jax.device_put(problem.x, over)
        (total, y), (dx, dk) = both(x, jax.device_put(problem.kernel, PartitionSpec()))
    wanted = sums(problem)[0]
    _, wanted_dx, wanted_dk = sums(problem, g=np.cos(wanted))
    assert_close(y, wanted, dtype=jnp.float32, reduction=27)
    assert_close(total, np.sin(wanted).sum(), dtype=jnp.float32, reduction=4320)
    assert_close(dx, wanted_dx, dtype=jnp.float32, reduction=45 * 27)
    assert_close(dk, wanted_dk, dtype=jnp.float32, reduction=864 * 27)


def parts_of_problem(x, kernel, g, spec):
    return parts((x, kernel, g, spec))
