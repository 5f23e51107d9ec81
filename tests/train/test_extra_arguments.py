"""Optimizers that need the loss, the gradient or a function of the parameters."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from jaxnets import train
from jaxnets.train._checkpoint_files import verify_checkpoint
from tests.helpers import assert_close
from tests.train.networks import assert_same_bits, blobs, figures, small_trainer


def plateau():
    return optax.chain(
        optax.adam(1e-2), optax.contrib.reduce_on_plateau(patience=1, rtol=0.1)
    )


def backtracking():
    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=5)
    return optax.chain(optax.sgd(1.0), search)


OPTIMIZERS = {
    "plateau": plateau,
    "lbfgs": optax.lbfgs,
    "polyak": lambda: optax.polyak_sgd(max_learning_rate=0.5),
    "backtracking": backtracking,
    "accumulated plateau": lambda: optax.MultiSteps(plateau(), 2),
    "accumulated lbfgs": lambda: optax.MultiSteps(optax.lbfgs(), 2),
}


def least_squares(params, model_state, batch, key):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2), (model_state, {})


def line(rng):
    x = rng.normal(size=(40, 3)).astype(np.float32)
    y = (x @ [1.0, -2.0, 0.5] + 3.0 + rng.normal(size=40)).astype(np.float32)
    return x, y


def slope(w, x, y):
    """Value and gradient of the mean square, in float64, of weights with a bias."""
    rows = np.concatenate([x, np.ones((len(x), 1))], axis=1).astype(np.float64)
    error = rows @ w - y
    return np.mean(error**2), 2 * rows.T @ error / len(x)


def run_steps(tx, batches):
    params = {"w": jnp.zeros(3), "b": jnp.zeros(())}
    state = train.create_train_state(jax.random.key(0), params, tx)
    step = jax.jit(train.make_train_step(least_squares, tx))
    for batch in batches:
        state, _ = step(state, batch)
    return np.append(state.params["w"], state.params["b"])


def test_lbfgs_finds_the_least_squares_solution(rng):
    x, y = line(rng)
    rows = np.concatenate([x, np.ones((40, 1))], axis=1)
    expected = np.linalg.lstsq(rows, y, rcond=None)[0]
    got = run_steps(optax.lbfgs(), [(x, y)] * 12)
    np.testing.assert_allclose(got, expected, rtol=1e-3)


def test_polyak_steps_are_those_of_the_formula(rng):
    x, y = line(rng)
    batches = [(x[i : i + 10], y[i : i + 10]) for i in (0, 10, 20, 30)]
    w = np.zeros(4)
    for batch in batches:
        value, gradient = slope(w, *batch)
        w = w - min(0.2, value / np.sum(gradient**2)) * gradient
    got = run_steps(optax.polyak_sgd(max_learning_rate=0.2), batches)
    np.testing.assert_allclose(got, w, rtol=1e-4)


@pytest.mark.parametrize("every", [1, 2])
def test_reduce_on_plateau_halves_the_rate_when_the_loss_stays(rng, every):
    x, y = line(rng)
    tx = optax.chain(
        optax.sgd(0.02), optax.contrib.reduce_on_plateau(0.5, patience=2, rtol=0.3)
    )
    if every == 2:
        tx = optax.MultiSteps(tx, 2)
    w, best, waited, scale, scales = np.zeros(4), np.inf, 0, 1.0, []
    for _ in range(12):
        value, gradient = slope(w, x, y)
        better = value < 0.7 * best
        best, waited = (value, 0) if better else (best, waited + 1)
        if waited == 2:
            scale, waited = scale / 2, 0
        scales.append(scale)
        w = w - 0.02 * scale * gradient
    assert 3 <= len(set(scales)) < 12
    got = run_steps(tx, [(x, y)] * 12 * every)
    np.testing.assert_allclose(got, w, rtol=1e-4)


def shard_kernel(path, parameter):
    columns = path == "body.layers.0.kernel"
    return PartitionSpec(None, "data") if columns else PartitionSpec()


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("placed", ["one device", "three steps a call", "sharded"])
def test_resume_gives_the_same_bits(tmp_path, name, placed):
    x, y = blobs(40)
    options = {
        "one device": {},
        "three steps a call": {"steps_per_call": 3},
        "sharded": {
            "mesh": jax.make_mesh((4,), ("data",)),
            "param_sharding": shard_kernel,
        },
    }[placed]

    def run(**more):
        trainer = small_trainer(OPTIMIZERS[name](), **options)
        callback = train.Checkpoint(tmp_path, every_steps=3)
        history = trainer.fit(
            x, y, batch_size=8, epochs=3, callbacks=[callback], **more
        )
        return jax.tree.map(jnp.copy, trainer.state), history

    state, expected = run()
    for path in tmp_path.iterdir():
        if verify_checkpoint(path)["step"] > 9:
            shutil.rmtree(path)
    resumed, history = run(resume=tmp_path)
    assert history.resumed.path.name == "step_00000009"
    assert_same_bits(resumed, state)
    assert_same_bits(figures(history), figures(expected))


@pytest.mark.parametrize(
    ("tx", "stacks"),
    [(optax.lbfgs(), 2), (optax.adafactor(1e-2, min_dim_size_to_factor=4), 0)],
)
def test_what_an_optimizer_keeps_lies_where_the_parameters_do(tx, stacks):
    mesh = jax.make_mesh((4,), ("data",))
    trainer = small_trainer(tx, mesh=mesh, param_sharding=shard_kernel)
    trainer.fit(*blobs(16), batch_size=16)
    found = 0
    for leaf in jax.tree.leaves(trainer.state.opt_state):
        local = leaf.addressable_shards[0].data.shape
        if leaf.shape[-2:] == (4, 8):
            found += leaf.ndim == 3
            assert local == (*leaf.shape[:-1], 2)
        else:
            assert local == leaf.shape
    assert found == stacks


def test_frozen_parameters_stay_where_a_line_search_looks(rng):
    x, y = line(rng)
    model = nnx.Sequential(
        nnx.Linear(3, 1, bias_metadata={"trainable": False}, rngs=nnx.Rngs(0)),
        lambda x: x[:, 0],
    )
    expected = np.linalg.lstsq(x, y, rcond=None)[0]  # the bias stays 0
    trainer = train.Trainer(
        model, optimizer=optax.lbfgs(), loss=lambda outputs, y: (outputs - y) ** 2
    )
    trainer.fit(x, y, batch_size=40, epochs=12, shuffle=False)
    layer = trainer.state.params["layers"][0]
    np.testing.assert_allclose(layer["kernel"][:, 0], expected, rtol=1e-3)
    assert_close(np.asarray(layer["bias"]), np.zeros(1, np.float32))


@pytest.mark.parametrize("name", ["plateau", "lbfgs", "polyak"])
def test_a_step_that_is_not_finite_leaves_the_optimizer_alone(rng, name):
    x, y = line(rng)
    tx = OPTIMIZERS[name]()
    params = {"w": jnp.zeros(3), "b": jnp.zeros(())}
    state = train.create_train_state(jax.random.key(0), params, tx)
    step = jax.jit(train.make_train_step(least_squares, tx, nonfinite="skip"))
    state, _ = step(state, (x, y))
    after, _ = step(state, (x, y * np.nan))
    assert int(after.nonfinite) == 1
    assert_same_bits(after.params, state.params)
    assert_same_bits(after.opt_state, state.opt_state)
