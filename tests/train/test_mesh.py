"""Four devices give what one gives, whatever is shared out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, PartitionSpec

from jaxnets import nn, train
from tests.helpers import assert_close
from tests.train.networks import assert_same_bits, blobs, small_trainer


def shard_kernels(path, parameter):
    """Columns of the first kernel over the devices, everything else on all."""
    if path == "body.layers.0.kernel":
        return PartitionSpec(None, "data")
    return PartitionSpec()


@pytest.fixture(scope="module")
def alone():
    x, y = blobs(50)
    trainer = small_trainer()
    history = trainer.fit(x, y, batch_size=16, epochs=2, validation_split=0.2)
    state = jax.tree.map(np.asarray, (trainer.state.params, trainer.state.opt_state))
    return state, history, trainer.predict(x, batch_size=16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, None),
        ({}, AxisType.Auto),
        ({"param_sharding": shard_kernels}, None),
        ({"steps_per_call": 2}, None),
        # With one process its own rows are all rows; see also test_processes.
        ({"steps_per_call": 2, "local_batches": True}, None),
    ],
)
def test_four_devices_give_what_one_gives(alone, options, kinds):
    x, y = blobs(50)
    mesh = jax.make_mesh((4,), ("data",), axis_types=kinds and (kinds,))
    trainer = small_trainer(mesh=mesh, **options)
    history = trainer.fit(x, y, batch_size=16, epochs=2, validation_split=0.2)
    state, expected, outputs = alone
    # Six steps; sums over the batch are added up in another order, and Adam divides
    # by the roots of small second moments.
    got = (trainer.state.params, trainer.state.opt_state)
    assert_close(got, state, reduction=50 * 6)
    for name in ("loss", "acc", "val_loss", "val_acc"):
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-5)
    np.testing.assert_array_equal(history["confusion"], expected["confusion"])
    assert_close(trainer.predict(x, batch_size=16), outputs, reduction=50 * 6)
    assert trainer.traces["train"] == trainer.traces["evaluate"] == 1


@pytest.mark.slow
def test_parameters_and_their_moments_lie_where_the_rule_says(tmp_path):
    x, y = blobs(32)
    mesh = jax.make_mesh((4,), ("data",))
    trainer = small_trainer(mesh=mesh, param_sharding=shard_kernels)
    trainer.fit(x, y, batch_size=16)

    def check():
        state = trainer.state
        adam = state.opt_state[0]
        for tree in (state.params, adam.mu, adam.nu):
            kernel = tree["body"]["layers"][0]["kernel"]
            assert kernel.shape == (4, 8)
            assert {shard.data.shape for shard in kernel.addressable_shards} == {(4, 2)}
            other = tree["first"]["kernel"]
            assert other.sharding.is_fully_replicated
            assert len(other.sharding.device_set) == 4

    check()
    trainer.save(tmp_path / "model")
    before = jax.tree.map(jnp.copy, trainer.state)
    trainer.fit(x, y, batch_size=16)
    trainer.load(tmp_path / "model")
    check()
    assert_same_bits(trainer.state, before)
    # A checkpoint knows nothing of devices: one device can take it over.
    alone = small_trainer().load(tmp_path / "model")
    assert_same_bits(alone.state, before)


@pytest.mark.slow
def test_resume_on_a_mesh_gives_the_same_bits(tmp_path):
    x, y = blobs(32)

    def run(**options):
        trainer = small_trainer(mesh=jax.make_mesh((4,), ("data",)))
        trainer.fit(x, y, batch_size=16, **options)
        return trainer.state

    expected = run(epochs=3)
    run(epochs=2, callbacks=[train.Checkpoint(tmp_path)])
    assert_same_bits(run(epochs=3, resume=tmp_path), expected)


def test_a_batch_that_cannot_be_shared():
    x, y = blobs(32)
    trainer = small_trainer(mesh=jax.make_mesh((4,), ("data",)))
    with pytest.raises(ValueError, match=r"a multiple of the 4 devices .* got 10"):
        trainer.fit(x, y, batch_size=10)
    with pytest.raises(ValueError, match="predict: batch_size must be a multiple"):
        trainer.predict(x, batch_size=3)


def test_frozen_and_constrained_parameters_on_a_mesh():
    x, y = blobs(32)

    def fitted(mesh=None):
        model = nnx.Sequential(
            nn.Dense(4, 8, trainable=False, rngs=nnx.Rngs(0)),
            nn.Dense(
                8,
                3,
                kernel_constraint=optax.projections.projection_non_negative,
                rngs=nnx.Rngs(1),
            ),
        )
        trainer = train.Trainer(
            model,
            optimizer=optax.adam(1e-2),
            loss=optax.softmax_cross_entropy_with_integer_labels,
            mesh=mesh,
        )
        trainer.fit(x, y, batch_size=16, epochs=2)
        return model.layers[0].kernel[...], trainer.state.params

    _, alone = fitted()
    frozen, spread = fitted(jax.make_mesh((4,), ("data",)))
    assert_close(spread, jax.tree.map(np.asarray, alone), reduction=32 * 4)
    layers = spread["layers"]
    assert_close(layers[0]["kernel"], np.asarray(frozen), tol=0.0)  # nothing moved
    assert float(layers[1]["kernel"].min()) == 0
