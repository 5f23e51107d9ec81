"""constrain and freeze inside optimizers, on nnx.State and on nested dicts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets.functional._constraints import max_norm, unit_norm
from jaxnets.nn import annotate, constrain, freeze

NON_NEGATIVE = optax.projections.projection_non_negative


class Net(nnx.Module):
    def __init__(self, seed=0):
        rngs = nnx.Rngs(seed)
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.second = self.first
        self.layers = nnx.List(
            [nnx.Linear(4, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)]
        )

    def __call__(self, x):
        return self.second(self.layers[1](self.layers[0](jnp.tanh(self.first(x)))))


def loss(model, x, y):
    return ((model(x) - y) ** 2).mean()


def train_stock(model, tx, data, steps=4):
    """The loop that Flax's documentation shows; parameters are an nnx.State."""
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(loss)(model, *data)
        optimizer.update(model, grads)

    for _ in range(steps):
        step(model, optimizer)
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def train_pure(model, tx, data, steps=4):
    """The same with nested dicts and no NNX object in the step."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state, rest):
        def f(params):
            model = nnx.merge(graph, params, rest)
            value = loss(model, *data)
            return value, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

        grads, rest = jax.grad(f, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, rest

    for _ in range(steps):
        params, opt_state, rest = step(params, opt_state, rest)
    return params


LOOPS = pytest.mark.parametrize("train", [train_stock, train_pure])


@pytest.fixture
def data(rng):
    return tuple(jnp.asarray(rng.normal(size=(8, n)), jnp.float32) for n in (3, 4))


def by_hand(model, data, project, learning_rate=0.1, steps=4):
    """Gradient descent that projects one kernel after each step."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
    for _ in range(steps):
        grads = jax.grad(lambda p: loss(nnx.merge(graph, p, rest), *data))(params)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        params["first"]["kernel"] = project(params["first"]["kernel"])
    return params


@pytest.mark.slow
@LOOPS
@pytest.mark.parametrize(
    "project", [NON_NEGATIVE, functools.partial(max_norm, max_value=0.5), unit_norm]
)
def test_constrain_is_projected_gradient_descent(data, train, project):
    expected = by_hand(Net(), data, project)
    model = Net()
    annotate(model.first.kernel, constraint=project)
    tx = optax.chain(optax.sgd(0.1), constrain(model))
    got = train(model, tx, data)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), got, expected
    )
    kernel = got["first"]["kernel"]
    np.testing.assert_allclose(project(kernel), kernel, rtol=3e-7)


@LOOPS
def test_zeros_of_a_projection_are_exact(data, train):
    model = Net()
    annotate(model.first.kernel, constraint=NON_NEGATIVE)
    tx = optax.chain(optax.adam(0.3), constrain(model))
    kernel = np.asarray(train(model, tx, data)["first"]["kernel"])
    assert (kernel >= 0).all()
    assert (kernel == 0).sum() >= 2
    assert (kernel > 0).any()


def test_constrain_bfloat16_parameters_with_float32_updates():
    model = nnx.Linear(2, 2, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    annotate(model.kernel, constraint=functools.partial(max_norm, max_value=0.1))
    tx = constrain(model)
    params = nnx.to_pure_dict(nnx.state(model))
    updates = jax.tree.map(lambda p: jnp.full(p.shape, 0.7, jnp.float32), params)
    updates, _ = tx.update(updates, tx.init(params), params)
    new = optax.apply_updates(params, updates)["kernel"]
    assert new.dtype == jnp.bfloat16
    norms = np.linalg.norm(np.asarray(new, np.float64), axis=0)
    np.testing.assert_allclose(norms, 0.1, rtol=2**-8)


@pytest.mark.slow
@LOOPS
def test_freeze(data, train):
    plain = train(Net(), optax.adamw(0.1), data)
    model = Net()
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    annotate(model.first, trainable=False)
    annotate(model.layers[1].scale, trainable=False)
    got = train(model, freeze(model, optax.adamw(0.1)), data)
    for frozen in (lambda p: p["first"], lambda p: p["layers"][1]["scale"]):
        jax.tree.map(np.testing.assert_array_equal, frozen(got), frozen(before))
    assert (got["layers"][0]["kernel"] != before["layers"][0]["kernel"]).all()
    assert (got["layers"][1]["bias"] != before["layers"][1]["bias"]).all()
    # With nothing frozen it is the optimizer alone.
    model = Net()
    same = train(model, freeze(model, optax.adamw(0.1)), data)
    jax.tree.map(np.testing.assert_array_equal, same, plain)


@LOOPS
def test_freeze_and_constrain_together(data, train):
    model = Net()
    annotate(model, constraint=NON_NEGATIVE)
    annotate(model.first, trainable=False)
    before = np.asarray(model.first.kernel[...])
    inside = freeze(model, optax.chain(optax.sgd(0.1), constrain(model)))
    got = train(model, inside, data)
    assert (before < 0).any()
    np.testing.assert_array_equal(got["first"]["kernel"], before)
    assert (got["layers"][0]["kernel"] >= 0).all()
    model = Net()
    annotate(model, constraint=NON_NEGATIVE)
    annotate(model.first, trainable=False)
    outside = optax.chain(freeze(model, optax.sgd(0.1)), constrain(model))
    again = train(model, outside, data)
    jax.tree.map(np.testing.assert_array_equal, again, got)


def test_frozen_parameters_take_no_optimizer_state():
    model = Net()
    annotate(model.first, trainable=False)
    params = nnx.state(model, nnx.Param)
    for tree in (params, nnx.to_pure_dict(params)):
        state = freeze(model, optax.adam(0.1)).init(tree)
        numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
        assert numbers == 1 + 2 * (4 * 3 + 3 + 3 + 3)


def test_a_part_of_the_parameters_is_enough():
    model = Net()
    annotate(model.first.kernel, constraint=NON_NEGATIVE)
    tx = constrain(model)
    params = {"first": {"kernel": -jnp.ones((3, 4))}}
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_array_equal(updates["first"]["kernel"], 1)


def test_errors():
    model = Net()
    annotate(model.first.kernel, constraint=jnp.sum)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    for name, tx in {
        "constrain": constrain(model),
        "freeze": freeze(model, optax.sgd(0.1)),
    }.items():
        message = rf"{name}: params has a leaf at 'params/first/bias', but the model"
        with pytest.raises(ValueError, match=message):
            tx.init({"params": params})
    tx = constrain(model)
    state = tx.init(params)
    with pytest.raises(ValueError, match="constrain: params must be given to update"):
        tx.update(params, state)
    message = (
        r"the constraint of first/kernel must keep the shape \(3, 4\); it returned"
    )
    with pytest.raises(ValueError, match=message):
        tx.update(params, state, params)


def test_the_state_can_be_mapped_by_parameter():
    """As a trainer does that places moments like their parameters."""
    model = Net()
    annotate(model.first, trainable=False)
    tx = optax.chain(freeze(model, optax.adam(0.1)), constrain(model))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    state = tx.init(params)

    def is_masked(node):
        return isinstance(node, optax.MaskedNode)

    doubled = optax.tree_utils.tree_map_params(
        tx,
        lambda leaf, param: leaf if is_masked(leaf) else leaf + 2 * param,
        state,
        params,
        is_leaf=is_masked,
    )
    assert jax.tree.structure(doubled) == jax.tree.structure(state)
    moments = [leaf for leaf in jax.tree.leaves(doubled) if leaf.shape == (4, 3)]
    assert len(moments) == 2
    for moment in moments:
        np.testing.assert_array_equal(moment, 2 * params["layers"][0]["kernel"])
