"""The pure core: no module, no trainer, any pytree of parameters."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import train
from tests.helpers import assert_close
from tests.train.networks import assert_same_bits


def loss_fn(params, model_state, batch, key):
    """Least squares with noise on the inputs; the model state counts its calls."""
    x, y = batch
    x = x + 0.01 * jax.random.normal(key, x.shape)
    error = x @ params["w"] + params["b"] - y
    rows = error**2
    metrics = {"loss": train.mean(rows, jnp.ones(len(rows)))}
    return jnp.mean(rows), ({"calls": model_state["calls"] + 1}, metrics)


def problem(rng, steps=6):
    params = {"w": jnp.asarray(rng.normal(size=3), jnp.float32), "b": jnp.zeros(())}
    batches = [
        (
            rng.normal(size=(8, 3)).astype(np.float32),
            rng.normal(size=8).astype(np.float32),
        )
        for _ in range(steps)
    ]
    tx = optax.adam(0.1)
    state = train.create_train_state(
        jax.random.key(3), params, tx, model_state={"calls": 0}
    )
    return state, tx, batches


@pytest.mark.slow
def test_steps_are_those_of_a_plain_loop(rng):
    state, tx, batches = problem(rng)
    step = jax.jit(train.make_train_step(loss_fn, tx))
    params, opt_state = state.params, tx.init(state.params)
    for number, batch in enumerate(batches):
        key = jax.random.fold_in(jax.random.key(3), number)
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, _), gradient = grad_fn(params, {"calls": 0}, batch, key)
        updates, opt_state = tx.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        state, metrics = step(state, batch)
        assert_close(metrics["loss"].total / 8, loss)
    assert_close(state.params, params)
    assert int(state.step) == len(batches)
    assert int(state.model_state["calls"]) == len(batches)


def test_scan_gives_the_same_bits_as_single_steps(rng):
    state, tx, batches = problem(rng)
    step = train.make_train_step(loss_fn, tx)
    single, rows = state, []
    for batch in batches[:4]:
        single, metrics = jax.jit(step)(single, batch)
        rows.append(metrics)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    several, together = jax.jit(train.scan_steps(step))(state, stacked, jnp.array(4))
    assert_same_bits(several, single)
    assert_same_bits(
        jax.tree.map(lambda leaf: leaf[:4], together),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows),
    )
    assert not np.any(jax.tree.leaves(jax.tree.map(lambda leaf: leaf[4:], together))[0])


def poison(batches, index, where):
    x, y = batches[index]
    x, y = x.copy(), y.copy()
    if where == "loss":
        y[0] = np.nan
    else:
        # The square root of 0 in root_loss has a finite value and no finite slope.
        x[:], y[:] = 0, 0
    batches[index] = (x, y)


def root_loss(params, model_state, batch, key):
    x, y = batch
    value = jnp.sqrt(jnp.sum((x @ params["w"] - y) ** 2))
    metrics = {"loss": train.Mean(value, jnp.ones(()))}
    return value, ({"calls": model_state["calls"] + 1}, metrics)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_stop_keeps_the_last_good_state_for_good(rng, where):
    state, tx, batches = problem(rng)
    poison(batches, 2, where)
    step = jax.jit(train.make_train_step(root_loss, tx, nonfinite="stop"))
    reports = []
    for number, batch in enumerate(batches):
        state, metrics = step(state, batch)
        reports.append(metrics["nonfinite"])
        if number == 1:
            good = jax.tree.map(jnp.copy, state)
    assert int(state.step) == 2
    assert int(state.nonfinite) == 1
    assert_same_bits(state._replace(nonfinite=good.nonfinite), good)
    bad = [(int(r.loss), int(r.gradient)) for r in reports]
    expected = (1, 1) if where == "loss" else (0, 1)
    assert bad == [(0, 0), (0, 0), expected, (0, 0), (0, 0), (0, 0)]


def test_skip_leaves_the_step_out(rng):
    state, tx, batches = problem(rng)
    step = jax.jit(train.make_train_step(root_loss, tx, nonfinite="skip"))
    without = state
    for batch in (*batches[:2], *batches[3:]):
        without, _ = step(without, batch)
    poison(batches, 2, "loss")
    for number, batch in enumerate(batches):
        state, metrics = step(state, batch)
        if number == 2:
            assert float(metrics["loss"].total) == float(metrics["loss"].count) == 0
    assert int(state.step) == 6
    assert int(state.nonfinite) == 1
    assert_same_bits(state.params, without.params)
    assert_same_bits(state.opt_state, without.opt_state)
    assert_same_bits(state.model_state, without.model_state)


def test_ignore_applies_the_update(rng):
    state, tx, batches = problem(rng)
    poison(batches, 0, "loss")
    step = jax.jit(train.make_train_step(root_loss, tx, nonfinite="ignore"))
    state, metrics = step(state, batches[0])
    assert np.isnan(state.params["w"]).all()
    assert int(metrics["nonfinite"].loss) == 1


@pytest.mark.parametrize("policy", ["stop", "ignore"])
def test_one_compilation_with_weak_types_in_params_and_optimizer(policy):
    chex.clear_trace_counter()

    def weak_loss(params, model_state, batch, key):
        loss = jnp.sum((params["a"] * batch) ** 2)
        return loss, (jnp.where(loss > 0, 1.0, 2.0), {})

    # Python floats are weakly typed, and so is what inject_hyperparams makes of them.
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    state = train.create_train_state(jax.random.key(0), {"a": 1.0}, tx, model_state=0.0)
    step = jax.jit(
        chex.assert_max_traces(
            train.make_train_step(weak_loss, tx, nonfinite=policy), n=1
        )
    )
    for _ in range(3):
        state, _ = step(state, jnp.ones(2))
    assert float(state.params["a"]) != 1.0


def test_donation_leaves_the_callers_arrays_alone(rng):
    state, tx, batches = problem(rng, steps=1)
    key, params = jax.random.key(0), {"w": jnp.ones(3), "b": jnp.zeros(())}
    state = train.create_train_state(key, params, tx, model_state={"calls": 0})
    step = jax.jit(train.make_train_step(loss_fn, tx), donate_argnums=0)
    step(state, batches[0])
    assert float(params["w"].sum()) == 3.0
    assert jax.random.key_data(key).shape == (2,)


def test_eval_step_changes_nothing(rng):
    state, _, batches = problem(rng)
    metrics = jax.jit(train.make_eval_step(loss_fn))(state, batches[0])
    (x, y), params = batches[0], state.params
    noise = 0.01 * np.asarray(jax.random.normal(jax.random.key(3), x.shape))
    error = (x + noise) @ np.asarray(params["w"]) + np.asarray(params["b"]) - y
    assert_close(metrics["loss"].total, np.sum(error**2).astype(np.float32))


def test_float64_stays(rng, x64):
    params = {"w": jnp.ones(3, jnp.float64)}

    def loss(params, model_state, batch, key):
        return jnp.sum((params["w"] - batch) ** 2), (model_state, {})

    tx = optax.sgd(0.1)
    state = train.create_train_state(jax.random.key(0), params, tx)
    state, _ = jax.jit(train.make_train_step(loss, tx))(state, jnp.zeros(3))
    assert_close(state.params["w"], np.full(3, 0.8))


def test_errors(rng):
    state, tx, batches = problem(rng)
    with pytest.raises(ValueError, match=r"nonfinite must be one of .* got 'halt'"):
        train.make_train_step(loss_fn, tx, nonfinite="halt")

    def grows(params, model_state, batch, key):
        return jnp.sum(params["w"]), ({**model_state, "new": jnp.ones(())}, {})

    with pytest.raises(ValueError, match="must keep the structure of model_state"):
        train.make_train_step(grows, tx)(state, batches[0])

    def taken(params, model_state, batch, key):
        return jnp.sum(params["w"]), (model_state, {"nonfinite": jnp.ones(())})

    with pytest.raises(ValueError, match="must not have the name 'nonfinite'"):
        train.make_train_step(taken, tx)(state, batches[0])
