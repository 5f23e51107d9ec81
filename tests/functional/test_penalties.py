"""Penalties and norm constraints against NumPy and against Keras."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxnets.functional import _constraints as constraints
from jaxnets.functional import _penalties as penalties
from tests.helpers import assert_close


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    return pytest.importorskip("keras")


def cosines(x):
    total, pairs = 0.0, 0
    for i in range(len(x)):
        for j in range(i):
            lengths = np.linalg.norm(x[i]) * np.linalg.norm(x[j])
            total, pairs = total + abs(x[i] @ x[j]) / lengths, pairs + 1
    return total / pairs


CASES = [
    (penalties.l1, {"strength": 0.3}, lambda x: 0.3 * np.abs(x).sum()),
    (penalties.l2, {"strength": 0.3}, lambda x: 0.3 * (x**2).sum()),
    (penalties.l1, {}, lambda x: 0.01 * np.abs(x).sum()),
    (penalties.l2, {}, lambda x: 0.01 * (x**2).sum()),
    (
        penalties.l1_l2,
        {"l1": 0.2, "l2": 0.7},
        lambda x: 0.2 * np.abs(x).sum() + 0.7 * (x**2).sum(),
    ),
    (penalties.orthogonal, {"strength": 2.0}, lambda x: 2 * cosines(x)),
    (penalties.orthogonal, {"mode": "columns"}, lambda x: 0.01 * cosines(x.T)),
]


@pytest.mark.parametrize(("function", "options", "oracle"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_values(rng, function, options, oracle, dtype):
    x = jnp.asarray(rng.normal(size=(5, 4)), dtype)
    expected = np.asarray(oracle(np.asarray(x, np.float64)))
    with jax.numpy_dtype_promotion("strict"):
        got = function(x, **options)
    assert_close(got, expected, dtype=dtype, reduction=20)


@pytest.mark.slow
@pytest.mark.parametrize(("function", "options", "oracle"), CASES)
def test_float64_and_derivatives(rng, x64, function, options, oracle):
    x = rng.normal(size=(5, 4))
    assert_close(function(x, **options), np.asarray(oracle(x)), reduction=20)
    check_grads(lambda x: function(x, **options), (x,), order=2, modes=["fwd", "rev"])


def test_half_sums_do_not_overflow():
    # Σx² is 1e6, beyond float16's 65504; the penalty is not.
    x = np.full(10_000, 10.0, np.float16)
    assert float(penalties.l2(x, strength=1e-4)) == pytest.approx(100, rel=1e-3)


@pytest.mark.slow
def test_gradients_where_they_are_not_smooth():
    zeros = jnp.zeros((3, 4))
    for function in (penalties.l1, penalties.l2, penalties.orthogonal):
        np.testing.assert_array_equal(jax.grad(function)(zeros), zeros)
    x = jnp.asarray([[1.0, 2.0], [0.0, 0.0]])
    assert np.isfinite(jax.grad(penalties.orthogonal)(x)).all()
    for function in (constraints.max_norm, constraints.unit_norm):
        grad = jax.grad(lambda x, f=function: f(x).sum())(zeros)
        assert np.isfinite(grad).all()


@pytest.mark.slow
def test_penalties_agree_with_keras(rng, keras):
    regularizers = keras.regularizers
    x = rng.normal(size=(5, 4)).astype(np.float32)
    pairs = [
        (regularizers.L1(0.3), penalties.l1(x, strength=0.3)),
        (regularizers.L2(0.3), penalties.l2(x, strength=0.3)),
        (regularizers.L1L2(0.2, 0.7), penalties.l1_l2(x, l1=0.2, l2=0.7)),
        (regularizers.L1(), penalties.l1(x)),
        (regularizers.L2(), penalties.l2(x)),
        *(
            (
                regularizers.OrthogonalRegularizer(0.3, mode),
                penalties.orthogonal(x, strength=0.3, mode=mode),
            )
            for mode in ("rows", "columns")
        ),
    ]
    for theirs, ours in pairs:
        assert_close(ours, np.asarray(theirs(jnp.asarray(x))), reduction=20)


def test_constraints_agree_with_keras(rng, keras):
    x = rng.normal(size=(3, 3, 2, 6)).astype(np.float32)
    x[..., 0] *= 0.01
    axes, theirs = [0, 1, 2], keras.constraints
    pairs = [
        (theirs.MaxNorm(1.5, axes), constraints.max_norm(x, max_value=1.5)),
        (theirs.MaxNorm(), constraints.max_norm(x, axis=0)),
        (theirs.UnitNorm(axes), constraints.unit_norm(x)),
        (theirs.UnitNorm([3]), constraints.unit_norm(x, axis=-1)),
        (
            theirs.MinMaxNorm(0.5, 2.0, 0.3, axes),
            constraints.min_max_norm(x, min_value=0.5, max_value=2.0, rate=0.3),
        ),
        (theirs.MinMaxNorm(0.0, 1.0, 1.0, axes), constraints.min_max_norm(x)),
    ]
    for constraint, ours in pairs:
        # Keras adds 1e-7 to every norm; the shortest vector here has norm 0.04.
        assert_close(ours, np.asarray(constraint(jnp.asarray(x))), tol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_constraints_hold_and_leave_the_rest_alone(rng, x64, dtype):
    x = jnp.asarray(rng.normal(size=(4, 3, 5)), dtype)
    x = x.at[..., 0].set(x[..., 0] / 100).at[..., 1].set(0)

    def norms(y):
        return np.linalg.norm(np.asarray(y, np.float64).reshape(-1, 5), axis=0)

    eps = 4 * float(jnp.finfo(dtype).eps)
    before = norms(x)
    capped = constraints.max_norm(x, max_value=1.0)
    assert capped.dtype == x.dtype
    np.testing.assert_allclose(norms(capped), np.minimum(before, 1), rtol=eps)
    np.testing.assert_array_equal(capped[..., :2], x[..., :2])
    unit = constraints.unit_norm(x)
    np.testing.assert_allclose(norms(unit)[[0, 2, 3, 4]], 1, rtol=eps)
    np.testing.assert_array_equal(unit[..., 1], 0 * x[..., 1])
    both = constraints.min_max_norm(x, min_value=0.5, max_value=0.75)
    expected = np.where(before > 0, np.clip(before, 0.5, 0.75), 0)
    np.testing.assert_allclose(norms(both), expected, rtol=eps)
    # The direction stays.
    ratio = np.asarray(capped[..., 3] / x[..., 3], np.float64)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=eps)


def test_errors():
    with pytest.raises(TypeError, match="l2: x must be floating; got int32"):
        penalties.l2(np.ones(3, np.int32))
    with pytest.raises(ValueError, match="orthogonal: mode must be one of 'rows'"):
        penalties.orthogonal(np.eye(3, dtype=np.float32), mode="rank")
    with pytest.raises(ValueError, match=r"must be a matrix.*reshape a convolution"):
        penalties.orthogonal(np.ones((3, 3, 1, 4), np.float32))
    with pytest.raises(ValueError, match="orthogonal: there must be at least 2 rows"):
        penalties.orthogonal(np.ones((1, 4), np.float32))
    for name in ("max_norm", "unit_norm", "min_max_norm"):
        with pytest.raises(TypeError, match=f"{name}: x must be floating; got int32"):
            getattr(constraints, name)(np.ones((2, 2), np.int32))
