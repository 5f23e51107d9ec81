"""State, compiled functions and devices of a trainer, under its public face."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from jaxnets.nn import constrain, freeze
from jaxnets.train._checkpoint_files import read_arrays
from jaxnets.train._data_checks import check_labels
from jaxnets.train._fingerprint import describe, describe_any
from jaxnets.train._flatten import describe as describe_leaf
from jaxnets.train._flatten import differences, flatten, unflatten
from jaxnets.train._metrics import Metric
from jaxnets.train._network import carries, take_apart
from jaxnets.train._optimizer import Optimizer, with_extra_args
from jaxnets.train._optimizer_facts import optimizer_facts, with_hyperparams
from jaxnets.train._placement import Placement, ShardingRule
from jaxnets.train._programs import Tally, make_programs
from jaxnets.train._sources import ArraySource, Batch
from jaxnets.train._step import TrainState, create_train_state

PARTS = {
    "params": "model",
    "model_state": "model",
    "opt_state": "optimizer",
    "key": "random number generator",
}


class Engine:
    """What runs the steps; for the arguments see `Trainer`."""

    def __init__(
        self,
        model: nnx.Module,
        *,
        optimizer: Optimizer,
        loss: Callable[..., Any],
        metrics: dict[str, Any],
        augment: Callable[..., Any] | None,
        nonfinite: str,
        steps_per_call: int,
        mesh: Mesh | None,
        param_sharding: ShardingRule | None,
        local_batches: bool,
        seed: int,
    ):
        self.metrics = metrics
        self._known_outputs: dict[Any, Any] = {}
        self.nonfinite = nonfinite
        self.steps_per_call = steps_per_call
        self.placement = Placement(mesh, param_sharding, local=local_batches)
        optimizer = with_extra_args(optimizer)
        self._optimizer = optimizer
        self._optimizer_facts: dict[str, str] | None = None
        self._facts: dict[str, Any] = {
            "nonfinite": nonfinite,
            "loss": describe(loss),
            "augment": describe(augment),
            "metrics": {name: describe_any(m) for name, m in metrics.items()},
        }
        # What parameters carry is read once; constraints act on the finished update.
        if carries(model, "trainable", False):
            optimizer = freeze(model, optimizer)
        if carries(model, "constraint"):
            optimizer = optax.chain(optimizer, constrain(model))
        self.tx = optimizer
        network = take_apart(model)
        state = create_train_state(
            jax.random.key(seed),
            network.params,
            optimizer,
            model_state=network.model_state,
        )
        # The values live in the state from here on, the structure alone stays.
        self.network = network._replace(params=None, model_state=None)
        self._shardings = self.placement.shardings(state)
        self.state = self.placement.put_state(state, self._shardings)
        on_mesh = None
        if mesh is not None:
            on_mesh = (self._shardings, self.placement.same)
        self.programs = make_programs(
            self.network,
            optimizer,
            loss=loss,
            metrics=metrics,
            augment=augment,
            nonfinite=nonfinite,
            steps_per_call=steps_per_call,
            shardings=on_mesh,
        )

    def train(self, chunk: list[Batch], tally: Tally) -> Any:
        """Start the steps of a chunk; returns their report without waiting for it."""
        if self.steps_per_call == 1:
            batches, count = self.placement.put_batch(chunk[0]), None
        else:
            count = np.int32(len(chunk))
            chunk = chunk + chunk[-1:] * (self.steps_per_call - len(chunk))
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *chunk)
            batches = self.placement.put_batch(stacked, stacked=True)
        self.state, tally.counts, report = self.programs.train(
            self.state, tally.counts, batches, count
        )
        return report

    def open_tally(self, function: str, batch: Batch, *sources: Any) -> Tally:
        """The empty sums of an epoch, after a look at what its data are like."""
        outputs = self._outputs(batch.x)
        check_labels(function, batch.y, outputs)
        for source in sources:
            if isinstance(source, ArraySource):
                check_labels(function, source.arrays[1], outputs)
            elif source is not None:
                source.outputs = outputs
        means, counts = ["loss"], {}
        for name, metric in self.metrics.items():
            if isinstance(metric, Metric):
                shapes = jax.eval_shape(metric.update, outputs, batch.y, batch.mask)
                zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
                counts[name] = self.placement.put_same(zeros)
            else:
                means.append(name)
        return Tally(means, counts)

    def _outputs(self, x: Any) -> Any:
        """Shapes and dtypes of the outputs; the module is traced once a shape."""
        leaves, tree = jax.tree.flatten(x)
        kind = (tree, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if kind not in self._known_outputs:
            self._known_outputs[kind] = jax.eval_shape(
                lambda state, x: self.network.apply(
                    state.params, state.model_state, x, training=False
                )[0],
                self.state,
                x,
            )
        return self._known_outputs[kind]

    def figures(self, tally: Tally) -> dict[str, Any]:
        """What the sums amount to: means, then what `Metric`s compute."""
        counts = {
            name: self.metrics[name].compute(jax.device_get(sums))
            for name, sums in tally.counts.items()
        }
        return {**tally.means(), **counts}

    def evaluate(self, source: Any) -> dict[str, Any]:
        """Loss and metrics over a source of batches."""
        tally, ready = None, None
        for batch in source.batches(0, 0):
            if tally is None:
                tally = self.open_tally("evaluate", batch, source)
            tally.counts, report = self.programs.evaluate(
                self.state, tally.counts, self.placement.put_batch(batch)
            )
            # One batch runs while the figures of the one before are fetched.
            if ready is not None:
                tally.add(np.asarray(ready)[None])
            ready = report
        if tally is None:
            raise ValueError("evaluate: there must be batches; got none")
        tally.add(np.asarray(ready)[None])
        return self.figures(tally)

    def predict(self, source: ArraySource) -> Any:
        """The outputs over a source of batches, without the filling."""
        parts, ready = [], None
        for batch in source.batches(0, 0):
            x = self.placement.put_batch(batch.x)
            outputs = self.programs.predict(self.state, x)
            if ready is not None:
                parts.append(jax.tree.map(np.asarray, ready))
            ready = outputs
        parts.append(jax.tree.map(np.asarray, ready))
        return jax.tree.map(lambda *rows: np.concatenate(rows)[: source.size], *parts)

    def set_state(self, state: TrainState) -> None:
        """Go on from another state of the same structure."""
        self.state = self.placement.put_state(state, self._shardings)

    def revive(self) -> None:
        """Let a state that stopped at a step that was not finite go on."""
        zero = self.placement.put_same(jnp.zeros((), jnp.int32))
        self.state = self.state._replace(nonfinite=zero)

    def named_state(self) -> dict[str, Any]:
        """The arrays of the state by name, as a checkpoint holds them."""
        return flatten(self.state, "state")

    def facts(self) -> dict[str, Any]:
        """What must be the same when a fit is resumed: model, optimizer and call."""
        if self._optimizer_facts is None:
            self._optimizer_facts = optimizer_facts(self._optimizer, self.state.params)
        model, optimizer = self.network.structure, self._optimizer_facts
        return {**self._facts, "model": model, "optimizer": optimizer}

    def check(self, path: Path, meta: dict[str, Any]) -> None:
        """Raise ValueError unless a checkpoint has the arrays of this state."""
        expected = {
            name: describe_leaf(leaf) for name, leaf in self.named_state().items()
        }
        for part, other in PARTS.items():
            lines = differences(meta["arrays"], expected, f"state.{part}")
            if lines:
                listed = "\n  ".join(line.replace("state.", "", 1) for line in lines)
                raise ValueError(
                    f"load: the checkpoint {path} is of another {other}:\n  {listed}"
                )

    def restore(self, path: Path, meta: dict[str, Any]) -> dict[str, Any]:
        """Take over the state of a verified checkpoint; returns all of its arrays."""
        self.check(path, meta)
        flat = read_arrays(path, meta, self.named_state())
        self.set_state(unflatten(self.state, flat, "state"))
        return flat

    def begin_hyperparameters(self, names: set[str]) -> None:
        """Put hyper-parameters that the optimizer's state holds to its first values."""
        kept = self.tx.init(self.state.params)
        opt_state = with_hyperparams(self.state.opt_state, kept, names)
        self.set_state(self.state._replace(opt_state=opt_state))
