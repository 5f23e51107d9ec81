"""Every row of the table of cases in the strict and the debugging modes of JAX."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import functional as F
from jaxnets import train
from tests.case_kinds import Case
from tests.case_laws import costly_law, plain, result_and_gradient
from tests.helpers import assert_close
from tests.train.networks import blobs, linear_trainer

# What the debugging modes look at are the results of single operations.
OP_BY_OP = {
    "jax_debug_nans": lambda: jax.debug_nans(True),
    "jax_debug_infs": lambda: jax.debug_infs(True),
    "jax_disable_jit": jax.disable_jit,
}
# These raise while a function is traced, and change no value.
WHILE_TRACED = {
    "jax_numpy_rank_promotion": lambda: jax.numpy_rank_promotion("raise"),
    "jax_numpy_dtype_promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "jax_check_tracer_leaks": jax.checking_leaks,
}


# One run each: what one mode of a group reports does not depend on the others.
GROUPS = (("jax_debug_nans", "jax_debug_infs"), ("jax_disable_jit",))


@costly_law
@pytest.mark.parametrize("modes", GROUPS, ids=" ".join)
def test_value_and_gradient_op_by_op(case: Case, modes: tuple[str, ...]):
    with contextlib.ExitStack() as stack:
        for mode in modes:
            stack.enter_context(OP_BY_OP[mode]())
        actual = result_and_gradient(case, case.draw(0))
    assert_close(actual, plain(case), reduction=256)


@costly_law
def test_value_and_gradient_are_traced(case: Case):
    def kinds(tree):
        return jax.tree.map(lambda a: (a.shape, a.dtype), tree)

    arguments = case.draw(0)
    # Looking for leaks takes most of a minute for the gradient of a long loop.
    with jax.checking_leaks():
        jax.eval_shape(case.call, *arguments)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        traced = jax.eval_shape(lambda *a: result_and_gradient(case, a), *arguments)
    assert kinds(traced) == kinds(plain(case))


@costly_law
@pytest.mark.usefixtures("x64")
def test_float32_stays_float32_with_x64(case: Case):
    """`assert_close` demands the dtypes, too: of results and of gradients."""
    actual = jax.jit(lambda *a: result_and_gradient(case, a))(*case.draw(0))
    with jax.enable_x64(False):
        expected = plain(case)
    assert_close(actual, expected, reduction=256)


# Finite results by way of what could be 0 / 0, 1 / 0 or the logarithm of 0.
ZEROS = jnp.zeros((4, 4, 4, 2))
STATS = F.BatchStats(jnp.zeros(2), jnp.ones(2))
LOGITS = jnp.asarray([[[0.0, 1.0], [jnp.nan, -jnp.inf]]])
EDGES = {
    "max_norm": lambda x: F.max_norm(x, max_value=0.0),
    "unit_norm": F.unit_norm,
    "min_max_norm": lambda x: F.min_max_norm(x, min_value=1.0),
    "orthogonal": lambda x: F.orthogonal(x.reshape(-1, 2), strength=0.1),
    **{
        f"lp_pool-{p}": lambda x, p=p: F.lp_pool(x, (2, 2), p=p, padding=1)
        for p in (1, 1.5, 2, 3, np.inf)
    },
    "global_lp_pool": lambda x: F.global_lp_pool(x, p=2),
    "max_pool": lambda x: F.max_pool(x, (3, 3), padding=1, dilation=2),
    "max_pool-halved": lambda x: F.max_pool(x, (4, 1), padding="FULL", strides=1),
    "max_pool-whole": lambda x: F.max_pool(x, (4, 3), padding="SAME"),
    "min_pool-half": lambda x: F.min_pool(x.astype(jnp.bfloat16), (2, 2), padding=1),
    "max_pool_with_indices": lambda x: F.max_pool_with_indices(x, (3, 3), padding=1)[0],
    "avg_pool": lambda x: F.avg_pool(x, (3, 3), padding=1, count_include_pad=False),
    "layer_norm": F.layer_norm,
    "batch_norm": lambda x: F.batch_norm(
        x, None, None, STATS, training=True, mask=jnp.zeros((4, 1, 1, 1), bool)
    )[0],
    "local_response_norm": lambda x: F.local_response_norm(x, size=3),
}


@pytest.mark.parametrize("mode", ["jax_debug_nans", "jax_debug_infs"])
@pytest.mark.parametrize("name", EDGES)
def test_zeros_pass_the_debugging_modes(name, mode):
    """The derivatives of all these functions at 0 are finite."""
    with OP_BY_OP[mode]():
        y, gradient = jax.value_and_grad(lambda x: jnp.sum(EDGES[name](x)))(ZEROS)
    assert np.isfinite(y)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("mode", ["jax_debug_nans", "jax_debug_infs"])
def test_steps_that_do_not_count_pass_the_debugging_modes(mode):
    targets, mask = jnp.asarray([[1, -100]]), jnp.asarray([[True, False]])
    with OP_BY_OP[mode]():
        loss = F.sequence_cross_entropy(LOGITS, targets, mask=mask)
    np.testing.assert_allclose(loss, [np.log1p(np.exp(-1))], rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_debug_nans_names_the_operation(compiled):
    """Not a recursion: the operation whose operand is infinite is reported."""
    conv = jax.jit(F.conv) if compiled else F.conv
    kernel = jnp.full((3, 3, 2, 1), jnp.inf)
    with (
        jax.debug_nans(True),
        pytest.raises(FloatingPointError, match="encountered in jaxnets_conv"),
    ):
        conv(ZEROS, kernel)


def test_debug_infs_does_not_report_padding_without_jit():
    with jax.disable_jit(), jax.debug_infs(True):
        y = F.max_pool(ZEROS, (3, 3), padding=1)
    np.testing.assert_array_equal(y, np.zeros((4, 2, 2, 2)))


@pytest.mark.parametrize("compiled", [False, True])
def test_debug_infs_finds_an_infinity_of_a_pool(compiled):
    """The mode is not switched off inside: an infinite result is reported."""
    pool = jax.jit(F.max_pool, static_argnums=1) if compiled else F.max_pool
    x = ZEROS.at[0, 0, 0, 0].set(jnp.inf)
    with jax.debug_infs(True), pytest.raises(FloatingPointError, match="inf"):
        pool(x, (2, 2))


@pytest.mark.parametrize("mode", [*OP_BY_OP, *WHILE_TRACED])
def test_trainer(mode):
    """Of plain gradient descent: Adam of optax promotes dtypes implicitly."""
    x, y = blobs(20)
    figures = []
    for context in (lambda: jax.disable_jit(False), {**OP_BY_OP, **WHILE_TRACED}[mode]):
        with context():
            trainer = linear_trainer(metrics={"acc": train.accuracy})
            history = trainer.fit(x, y, batch_size=8, epochs=2, verbose=False)
            evaluated = trainer.evaluate(x, y)
            figures.append((history["loss"], evaluated["acc"], trainer.predict(x)))
    for got, want in zip(figures[1], figures[0], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
